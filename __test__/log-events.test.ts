// Tracing events of the engine's threads in the logger: which ones `MLX_LOG` selects, which engine gets them, and that
// they have no text of prompts or answers.

import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { createEngine, type Engine, type EngineOptions } from 'mlx-serving'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Line, recorder } from './logs.js'
import { failure, INSTANT, inNode, ROOT, simulated, UNSHARED, until, withMlx } from './support.js'

beforeEach(() => vi.stubEnv('MLX_LOG', undefined))
afterEach(() => vi.unstubAllEnvs())

const EVENT = / target=(mlx_serving::\w+)$/
const events = (lines: Line[]) => lines.filter(([, message]) => EVENT.test(message))

/** The lines of an engine that answers a request after two failed steps. */
async function life(filter: string | undefined, options: EngineOptions = {}): Promise<Line[]> {
  vi.stubEnv('MLX_LOG', filter)
  const { lines, logger } = recorder()
  const faults = [0, 1].map(step => ({ step, kind: 'collect' as const }))
  const backend = { simulated: INSTANT, faults }
  const { engine, model } = await simulated(INSTANT, { logger, backend, retry: { initialDelayMs: 1 }, ...options })
  await engine.generate({ model, prompt: 'Once', maxTokens: 3 })
  await engine.shutdown()
  return lines
}

const FAILED: Line = [
  'error',
  'step failed model=demo lost=0 error="BackendError: the simulated device failed, as its script says" target=mlx_serving::engine',
]

test('failed steps are logged at error, although the request is answered', async () => {
  expect(events(await life(undefined))).toEqual([FAILED, FAILED])
})

test('each admission is logged at debug and each step at trace, and a logger gets both as debug', async () => {
  const debug = events(await life('debug'))
  const admitted =
    /^admitted sequence=seq-0 reason=FastPath waited_us=\d+ depth=1 tier=\w+ target=mlx_serving::scheduler$/
  expect(debug.filter(([level, message]) => level === 'debug' && admitted.test(message)).length).toBeGreaterThan(0)
  expect(debug.some(([, message]) => message.startsWith('step model='))).toBe(false)
  const steps = events(await life('trace')).filter(([, message]) => message.startsWith('step model='))
  expect(steps.length).toBeGreaterThanOrEqual(3)
  const step = /^step model=demo rows=\d+ prompt_tokens=\d+( took_us=\d+)? target=mlx_serving::engine$/
  for (const [level, message] of steps) expect([level, message]).toEqual(['debug', expect.stringMatching(step)])
})

test('the opening of a circuit breaker is logged at warn, and its closing at info', async () => {
  const { lines, logger } = recorder()
  const backend = { simulated: INSTANT, faults: [{ step: 0, kind: 'collect' as const }] }
  const circuitBreaker = { failures: 1, openMs: 20 }
  const { engine, model } = await simulated(INSTANT, { logger, backend, retry: { enabled: false }, circuitBreaker })
  await failure(engine.generate({ model, prompt: 'Once' }))
  const answered = () =>
    engine.generate({ model, prompt: 'Once', maxTokens: 2 }).then(
      () => true,
      () => false,
    )
  while (!(await answered())) await new Promise(resolve => setTimeout(resolve, 5))
  await engine.shutdown()
  expect(events(lines).filter(([level]) => level !== 'error')).toEqual([
    ['warn', 'circuit breaker opened model=demo target=mlx_serving::engine'],
    ['info', 'circuit breaker closed model=demo target=mlx_serving::engine'],
  ])
})

test.each<[string, { api: string[]; engine: string[]; scheduler: string[] }]>([
  ['mlx_serving::scheduler=debug', { api: ['info'], engine: ['error'], scheduler: ['debug'] }],
  ['off,mlx_serving::scheduler=debug', { api: [], engine: [], scheduler: ['debug'] }],
  ['mlx_serving::engine=off,debug', { api: ['debug', 'info'], engine: [], scheduler: ['debug'] }],
  [' Warn , mlx_serving::api = Debug ', { api: ['debug', 'info'], engine: ['error'], scheduler: [] }],
  ['mlx_serving=error', { api: [], engine: ['error'], scheduler: [] }],
  ['off', { api: [], engine: [], scheduler: [] }],
])('MLX_LOG=%s selects the levels of each target', async (filter, expected) => {
  const lines = await life(filter)
  const levels = (target: string) => {
    const own = lines.filter(([, message]) => (EVENT.exec(message)?.[1] ?? 'mlx_serving::api').endsWith(target))
    return [...new Set(own.map(([level]) => level))].sort()
  }
  const [api, engine, scheduler] = ['api', 'engine', 'scheduler'].map(levels)
  expect({ api, engine, scheduler }).toEqual(expected)
})

test('the error about MLX_LOG names the targets of all events', async () => {
  vi.stubEnv('MLX_LOG', 'mlx_serving::nothing=debug')
  const { message } = await failure(createEngine())
  const folder = path.join(ROOT, 'src')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    name => name.endsWith('.rs') && !name.startsWith('binding'),
  )
  const source = files.map(name => readFileSync(path.join(folder, name), 'utf8')).join('\n')
  const [macros, targets] = [/tracing::(error|warn|info|debug|trace)!\(/g, /target: "(mlx_serving::\w+)"/g].map(
    regex => [...source.matchAll(regex)],
  )
  expect(targets.length).toBe(macros.length)
  const used = [...new Set(targets.map(([, target]) => target))].sort()
  expect(message).toContain(`targets are mlx_serving, mlx_serving::api, ${used.join(', ')}`)
})

test('two engines get their own events, each at its level', async () => {
  const [quiet, verbose] = [recorder(), recorder()]
  vi.stubEnv('MLX_LOG', 'error')
  const first = await simulated(INSTANT, { logger: quiet.logger })
  vi.stubEnv('MLX_LOG', 'debug')
  const second = await simulated(INSTANT, { logger: verbose.logger })
  vi.stubEnv('MLX_LOG', undefined)
  const silent = await simulated()
  const ask = async ({ engine, model }: typeof first, count: number) => {
    for (let n = 0; n < count; n++) await engine.generate({ model, prompt: `Once ${n}`, maxTokens: 2 })
  }
  await Promise.all([ask(first, 5), ask(second, 3), ask(silent, 7)])
  await Promise.all([first, second].map(({ engine }) => engine.shutdown()))
  expect(quiet.lines).toEqual([])
  expect(events(verbose.lines).filter(([, message]) => message.startsWith('admitted')).length).toBe(3)
})

test('an engine that reuses the thread of another one has its own events', async () => {
  for (const count of [2, 1]) {
    const lines = await life('debug')
    expect(lines.filter(([, message]) => message === FAILED[1]).length, `engine ${count}`).toBe(2)
  }
})

test('events of all engine threads are logged, also those of a thread that has replaced another one', async () => {
  vi.stubEnv('MLX_LOG', 'mlx_serving::scheduler=debug')
  const { lines, logger } = recorder()
  // The first step: the limit of later ones depends on the times of the steps before.
  const faults = [{ step: 0, kind: 'stall' as const, ms: 1_000 }]
  const options = { workers: { count: 2 }, health: { stuckAfterMs: 100 } }
  const { engine, model } = await simulated(INSTANT, { logger, backend: { simulated: INSTANT, faults }, ...options })
  const admissions = () => lines.filter(([, message]) => message.startsWith('admitted')).length
  const replaced = () => lines.filter(([, message]) => message.startsWith('worker replaced'))
  const ask = (count: number) =>
    Promise.all(
      Array.from({ length: count }, (_, seed) =>
        engine.generate({ model, prompt: 'Once', temperature: 1, seed, maxTokens: 5 }),
      ),
    )
  await ask(8)
  await until(() => replaced().length > 0)
  for (const line of replaced()) {
    const message = expect.stringMatching(/^worker replaced worker=\d again=\d target=mlx_serving::engine$/)
    expect(line).toEqual(['warn', message])
  }
  await ask(8)
  await engine.shutdown()
  // Requests that run again are admitted twice.
  expect(admissions()).toBeGreaterThanOrEqual(16)
})

/** Blocks this thread, so that no message is written. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

test('messages that are not written in time are dropped and counted, and do not block the engine', async () => {
  vi.stubEnv('MLX_LOG', 'trace')
  const { lines, logger } = recorder()
  // One row at a time, so that there are many steps.
  const { engine, model } = await simulated(INSTANT, { logger, scheduler: { enabled: false } })
  const params = { model, prompt: 'Once', temperature: 1, maxTokens: 200, ignoreEos: true }
  const asked = Array.from({ length: 20 }, (_, seed) => engine.generate({ ...params, seed }))
  while (engine.stats().completed < asked.length) block(5)
  const [full, last] = [1_024, engine.stats().steps + asked.length]
  await Promise.all(asked)
  await engine.shutdown()
  const counts = lines.flatMap(([level, message]) => {
    const [, count] = /^messages of the log were dropped: .* dropped=(\d+)$/.exec(message) ?? []
    return level === 'warn' && count ? [Number(count)] : []
  })
  const written = events(lines).length
  expect(written).toBeGreaterThanOrEqual(full)
  expect(counts.length).toBe(1)
  expect(written + counts[0]).toBeGreaterThanOrEqual(last)
})

const SECRET = 'xyzzyprompt'
const ANSWER = 'plughanswer'

/** Lines of requests of all kinds, in all of which the prompt has `SECRET` and the answer `ANSWER`. */
async function secrets(filter: string): Promise<string> {
  vi.stubEnv('MLX_LOG', filter)
  const { lines, logger } = recorder()
  const text = `${ANSWER} Once upon a time`
  const answers = () => ({ text })
  const faults = [
    { step: 4, kind: 'collect' as const },
    { step: 9, kind: 'logits' as const },
  ]
  const backend = { simulated: INSTANT, answers, faults }
  const { engine, model } = await simulated(INSTANT, { logger, backend, retry: { initialDelayMs: 1 } })
  const messages = [{ role: 'user' as const, content: SECRET }]
  const kinds: object[] = [
    { prompt: SECRET },
    { prompt: { tokens: await engine.tokenize({ model, text: SECRET }) } },
    { prompt: { template: `${SECRET} {{ x }}`, variables: { x: SECRET } } },
    { prompt: { template: `{{ raise_exception('${SECRET}') }}` } },
    { messages },
    { messages, structured: { regex: `${SECRET}+` } },
    { messages, structured: { regex: `${SECRET}(` } },
    { messages, stopSequences: [SECRET, ANSWER] },
    { messages, tools: [{ name: SECRET, description: SECRET, parameters: {} }] },
    { prompt: SECRET.repeat(100_000) },
  ]
  const options = { timeoutMs: 5_000, tenant: 'a' }
  await Promise.allSettled(kinds.map(kind => engine.generate({ model, ...kind } as never, options)))
  try {
    for await (const { text } of engine.generate({ model, prompt: SECRET })) if (text.length > 10) break
  } catch {
    // A fault may come in one of its steps.
  }
  await engine.shutdown()
  return JSON.stringify(lines)
}

test.each(['error', 'warn', 'info', 'debug', 'trace'])(
  'no message has text of a prompt or an answer at %s',
  async level => {
    const lines = await secrets(level)
    expect(lines).toContain('step failed')
    expect(lines.toLowerCase()).not.toContain(SECRET)
    expect(lines.toLowerCase()).not.toContain(ANSWER)
  },
)

test('no message of MLX has text of a prompt', async () => {
  vi.stubEnv('MLX_LOG', 'trace')
  const { lines, logger } = recorder()
  const { engine, model } = await withMlx({ logger })
  const { text } = await engine.generate({ model, prompt: SECRET, maxTokens: 8 })
  await engine.shutdown()
  expect(events(lines).length).toBeGreaterThan(8)
  for (const word of [SECRET, text.trim()]) expect(JSON.stringify(lines)).not.toContain(word)
})

/** A worker with an engine whose logger posts its messages. Its device fails in its first step. */
function worker(filter: string, body: string): Worker {
  const script = `
    const { createEngine } = require(${JSON.stringify(path.join(ROOT, 'dist', 'index.js'))})
    const { parentPort } = require('node:worker_threads')
    const write = level => message => parentPort.postMessage([level, message])
    const logger = { error: write('error'), warn: write('warn'), info: write('info'), debug: write('debug') }
    const main = async () => {
      const faults = [{ step: 0, kind: 'collect' }]
      const backend = { simulated: 'instant', faults }
      const engine = await createEngine({ logger, backend, ${JSON.stringify(UNSHARED).slice(1, -1)} })
      const model = await engine.loadModel()
      const ask = () => engine.generate({ model, prompt: 'Once', maxTokens: 2 })
      ${body}
    }
    main()`
  return new Worker(script, { eval: true, env: { ...process.env, MLX_LOG: filter } })
}

/** The events that a worker posts until it ends. */
async function posted(from: Worker): Promise<Line[]> {
  const lines: Line[] = []
  from.on('message', line => lines.push(line))
  await once(from, 'exit')
  return events(lines)
}

test('workers have loggers and levels of their own', async () => {
  const body = 'for (let n = 0; n < 3; n++) await ask(); await engine.shutdown()'
  const [quiet, verbose] = await Promise.all([worker('error', body), worker('debug', body)].map(posted))
  expect(quiet).toEqual([FAILED])
  expect(verbose.filter(([level]) => level === 'error')).toEqual([FAILED])
  expect(verbose.filter(([, message]) => message.startsWith('admitted')).length).toBeGreaterThanOrEqual(3)
})

test('after a worker was terminated, other engines still log to their own loggers', async () => {
  const busy = worker('trace', 'const again = () => ask().then(again); again()')
  await once(busy, 'message')
  await busy.terminate()
  expect(await posted(worker('error', 'await ask(); await engine.shutdown()'))).toEqual([FAILED])
  expect(events(await life(undefined))).toEqual([FAILED, FAILED])
})

/** Blocks the thread of JavaScript until the request has failed, so that JavaScript is not woken before. */
const untilFailed = `
  while (engine.stats().failed === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)`

const failing = `
  import { createEngine } from 'mlx-serving'
  const faults = [{ step: 0, kind: 'collect' }]
  const engine = await createEngine({ backend: { simulated: 'instant', faults }, retry: { enabled: false } })
  const model = await engine.loadModel()
  engine.generate({ model, prompt: 'Once' }).catch(() => {})`

test.each([
  ['process.exit() before JavaScript was woken', 'process.exit(0)'],
  ['the natural end of the program', ''],
])('messages are written at %s', async (_, end) => {
  const script = `${failing}
    ${untilFailed}
    ${end}`
  const { code, stderr } = await inNode(script, 'module', [], { MLX_LOG: 'error' })
  expect({ code, stderr }).toEqual({
    code: 0,
    stderr: expect.stringContaining(`mlx-serving error: step failed model=demo lost=1 error=`),
  })
})

test.each(['process.exit(0)', ''])('messages are written at the end of a worker: %s', async end => {
  const script = `
    const { Worker } = require('node:worker_threads')
    const body = \`
      const { createEngine } = require(${JSON.stringify(path.join(ROOT, 'dist', 'index.js'))})
      const { writeSync } = require('node:fs')
      const ignore = () => {}
      const logger = { error: message => writeSync(2, message), warn: ignore, info: ignore, debug: ignore }
      const main = async () => {
        const backend = { simulated: 'instant', faults: [{ step: 0, kind: 'collect' }] }
        const engine = await createEngine({ logger, backend, retry: { enabled: false } })
        const model = await engine.loadModel()
        engine.generate({ model, prompt: 'Once' })[Symbol.asyncIterator]().next().catch(ignore)
        ${untilFailed}
        ${end}
      }
      main()\`
    new Worker(body, { eval: true })`
  const { code, stderr } = await inNode(script, 'commonjs', [], { MLX_LOG: undefined })
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('step failed model=demo lost=1 error=') })
})

test('a logger can call the engine, and a logger that throws gets no more messages', async () => {
  vi.stubEnv('MLX_LOG', 'trace')
  const numRunning: number[] = []
  let engine: Engine | undefined
  const ignore = () => {}
  const debug = (message: string) => {
    if (message.startsWith('admitted')) numRunning.push(engine?.stats().running ?? -1)
    if (numRunning.length > 1) throw new Error('disk full')
  }
  const ready = await simulated(INSTANT, { logger: { debug, info: ignore, warn: ignore, error: ignore } })
  engine = ready.engine
  for (let n = 0; n < 5; n++) await engine.generate({ model: ready.model, prompt: `Once ${n}`, maxTokens: 2 })
  await until(() => numRunning.length > 1)
  expect(numRunning.length).toBe(2)
})
