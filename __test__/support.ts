// Shared by the tests: engines that are closed at the end of a test, answers long enough to interrupt, and child processes.
// All engines are real. `simulated` is the engine on a simulated device: deterministic words at a device's speed. `ON_MLX`
// lists the ways in which MLX computes; tests of the answers run with each of them.

import { spawn } from 'node:child_process'
import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import {
  createEngine,
  type Engine,
  type EngineOptions,
  type GenerateOptions,
  type Generation,
  type ModelHandle,
} from 'mlx-serving'
import { inject, onTestFinished } from 'vitest'
import { STORED } from './copies.js'

export const ROOT = path.join(__dirname, '..')
const DEMO = path.join(ROOT, 'models', 'demo')
/** Takes about 90 ms for the first token and 6 ms for each further one. */
export const M3_MAX = 'm3-max/llama-3.2-3b-4bit'
/** Takes no time, so that only the engine itself does. */
export const INSTANT = 'instant'

export interface Ready {
  engine: Engine
  model: ModelHandle
}

const off = { enabled: false }
/** Disables sharing: tests repeat a request to compute it again. */
export const UNSHARED = { cache: { coalescing: off, dedup: off, promptCache: off, prefixCache: off } }
/** Disables the sharing of answers. Requests still share what their prompts have in common. */
export const SHARING_PREFIXES = { cache: { coalescing: off, dedup: off, promptCache: off } }

/** An engine on a simulated device with the demo model's vocabulary. Closed at the end of the test. */
export function simulated(profile = INSTANT, options: EngineOptions = {}): Promise<Ready> {
  return ready({ backend: { simulated: profile }, ...UNSHARED, ...options })
}

/** An engine on a simulated device that shares answers, as by default. Closed at the end of the test. */
export function sharing(profile = INSTANT, options: EngineOptions = {}): Promise<Ready> {
  return ready({ backend: { simulated: profile }, ...options })
}

/** An engine that runs the demo model with MLX. Closed at the end of the test. */
export function withMlx(options: EngineOptions = {}): Promise<Ready> {
  return ready({ ...UNSHARED, ...options })
}

/** A way in which MLX computes the demo model, and a function that opens an engine for it. */
export type OnMlx = [name: string, open: (options?: EngineOptions) => Promise<Ready>]

/**
 * In float32 a CPU uses the engine's own attention: an answer is the same to the last bit, whatever other requests run. The
 * other models are computed in their own precision with MLX's operations.
 */
export const IN_FLOAT32: OnMlx = ['MLX, float32', withMlx]
export const IN_OWN_PRECISION: OnMlx[] = STORED.map(stored => [
  `MLX, ${stored}`,
  options => ready({ ...UNSHARED, precision: 'model', ...options }, inject('copies')[stored]),
])
/** Without quantized half precision, of which a CPU reads about 50 prompt tokens per second. For long prompts. */
export const IN_HALF_PRECISION = IN_OWN_PRECISION.filter(([name]) => !name.includes('4-bit'))
export const ON_MLX: OnMlx[] = [IN_FLOAT32, ...IN_OWN_PRECISION]

async function ready(options: EngineOptions, folder?: string): Promise<Ready> {
  const engine = await createEngine(options)
  onTestFinished(() => engine.dispose())
  return { engine, model: await engine.loadModel(folder) }
}

/**
 * An engine with memory for three blocks of 256 positions, and a tenth more, part of which is set aside for empty slots.
 * Generations that need two blocks each preempt each other and are recomputed.
 */
export async function crowded([, open]: OnMlx, options: EngineOptions = {}): Promise<Ready> {
  const { engine, model } = await open({ memory: { kvBytes: 1 } })
  const twoBlocks = engine.generate({ model, prompt: { tokens: [60] }, maxTokens: 500 })
  const { requested } = await failure(twoBlocks)
  return open({ ...options, memory: { kvBytes: Math.ceil((requested as number) * 1.65) } })
}

/** An engine on a simulated device with the demo model and another chat template. Closed at the end of the test. */
export async function withTemplate(template: string, options: EngineOptions = {}): Promise<Ready> {
  const { engine } = await simulated(INSTANT, options)
  const folder = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  for (const name of await readdir(DEMO)) await symlink(path.join(DEMO, name), path.join(folder, name))
  await writeFile(path.join(folder, 'chat_template.jinja'), template)
  return { engine, model: await engine.loadModel(folder) }
}

/** Params of an answer with at least `minTokens` tokens. A simulated model ends at a random, but reproducible length. */
export async function longAnswer(minTokens: number): Promise<LongAnswer> {
  const known = longAnswers.get(minTokens) ?? findLongAnswer(minTokens)
  longAnswers.set(minTokens, known)
  return known
}

interface LongAnswer {
  prompt: string
  temperature: number
  seed: number
  maxTokens: number
}

const longAnswers = new Map<number, Promise<LongAnswer>>()

async function findLongAnswer(minTokens: number): Promise<LongAnswer> {
  const engine = await createEngine({ backend: { simulated: INSTANT } })
  try {
    const model = await engine.loadModel()
    for (let seed = 1; seed < 2000; seed++) {
      const params = { prompt: 'Tell me everything.', temperature: 1, seed, maxTokens: minTokens }
      const { tokens } = await engine.generate({ model, ...params })
      if (tokens.length === minTokens) return { ...params, maxTokens: 4 * minTokens }
    }
    throw new Error(`no seed gives ${minTokens} tokens`)
  } finally {
    await engine.dispose()
  }
}

/**
 * The names of prompts in the order of their ends, after all of them waited for the only row. Names of the same length give
 * the same amount of work.
 */
export async function orderOf(asked: Record<string, GenerateOptions>): Promise<string[]> {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
  // About 0.9 s of work. The scheduler expects exactly these tokens: it expects at most 256 of a first answer.
  const first = engine.generate({ model, prompt: 'Tell me everything.', maxTokens: 120, ignoreEos: true })
  await until(() => engine.stats().running === 1)
  const order: string[] = []
  const rest = Object.entries(asked).map(async ([prompt, options]) => {
    await engine.generate({ model, prompt, maxTokens: 1 }, options)
    order.push(prompt)
  })
  await until(() => engine.stats().queued === rest.length)
  await Promise.all([first, ...rest])
  return order
}

/** The joined chunks of a generation. */
export async function read(generation: Generation): Promise<{ text: string; tokens: number[]; chunks: number }> {
  const all = { text: '', tokens: [] as number[], chunks: 0 }
  for await (const { text, tokens } of generation) {
    all.text += text
    all.tokens.push(...tokens)
    all.chunks++
  }
  return all
}

/** The error with which a promise rejects. */
export async function failure(promise: PromiseLike<unknown>): Promise<Error & Record<string, unknown>> {
  try {
    await promise
  } catch (error) {
    return error as Error & Record<string, unknown>
  }
  throw new Error('it did not fail')
}

/** Wraps objects, and lists the properties that are read of them and of what they hold. */
export function readCounter(): { reads: string[]; counting: <T extends object>(target: T) => T } {
  const reads: string[] = []
  const counting = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(of, key) {
        reads.push(String(key))
        const value: unknown = Reflect.get(of, key)
        // A regular expression does not work behind a proxy.
        const isWrapped = typeof value === 'object' && value !== null && !(value instanceof RegExp)
        return isWrapped ? counting(value) : value
      },
    })
  return { reads, counting }
}

/** Params of an answer that takes 13 s on a simulated M3 Max: tests end it. */
export const ENDLESS = { prompt: 'Tell me everything.', temperature: 0, maxTokens: 2_000, ignoreEos: true }

/** Waits until a condition holds. The time limit of the test bounds the wait. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 1))
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** Runs a script in a separate Node process, in which it imports `mlx-serving` as users do. */
export function inNode(
  script: string,
  type: 'module' | 'commonjs' = 'module',
  flags: string[] = [],
  variables: NodeJS.ProcessEnv = {},
): Promise<Exit> {
  const child = spawn(process.execPath, [...flags, `--input-type=${type}`, '--eval', script], {
    cwd: ROOT,
    timeout: 20_000,
    env: { ...process.env, ...variables },
  })
  const exit: Exit = { code: null, signal: null, stdout: '', stderr: '' }
  child.stdout.on('data', data => (exit.stdout += data))
  child.stderr.on('data', data => (exit.stderr += data))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ ...exit, code, signal }))
  })
}
