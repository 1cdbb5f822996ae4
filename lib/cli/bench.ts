// `mlx-serving bench`: how fast a model answers on this machine, by the number of requests at the same time, with and without
// duplicates.

import { writeFile } from 'node:fs/promises'
import type { GenerateResult } from '../../index'
import { chartOf } from './chart'
import { digits, table } from './figures'
import { inSession, type Session, type SessionOptions } from './session'
import { isWatched, note, printable, printJson, printLine } from './terminal'

/** Text of which prompts are cut. */
const TEXT = 'The quick brown fox jumps over the lazy dog, and then it sleeps in the warm sun for the rest of the day. '

export interface BenchOptions extends SessionOptions {
  readonly concurrency: readonly number[]
  /** Requests that each of the concurrent callers makes, one after another. */
  readonly rounds: number
  readonly promptTokens: number
  readonly maxTokens: number
  /** The share of requests that repeat another one, in the second half of the sweep. */
  readonly duplicates: number
  readonly json?: boolean
  readonly svg?: string
}

/** The figures of one point of the sweep. */
export interface Point {
  readonly concurrency: number
  readonly duplicates: number
  readonly requests: number
  readonly seconds: number
  /** Tokens of all answers a second, prompts and waiting included. */
  readonly tokensPerSecond: number
  readonly ttftMs: { readonly p50: number; readonly p95: number }
  /** The time between two tokens of an answer. */
  readonly interTokenMs: number
  /** The share of answers that were not computed for their request. */
  readonly shared: number
}

export async function bench(options: BenchOptions): Promise<void> {
  await inSession(options, async session => {
    const points = await sweep(session, options)
    const { id, family, computeType, quantization } = session.model
    const model = { id, family, computeType, ...(quantization && { quantization }) }
    if (options.svg !== undefined) await writeFile(options.svg, chartOf(printable(id), points))
    if (options.json) return printJson({ model, ...settingsOf(options), points })
    await printLine(table(COLUMNS, points.map(rowOf)))
  })
}

function settingsOf({ rounds, promptTokens, maxTokens }: BenchOptions): object {
  return {
    rounds,
    promptTokens,
    maxTokens,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
  }
}

async function sweep(session: Session, options: BenchOptions): Promise<Point[]> {
  const prompts = new Prompts(session, options.promptTokens)
  // The first request pays for what later ones find ready.
  await measure(session, prompts, { concurrency: 1, duplicates: 0, rounds: 1, maxTokens: 8 })
  const points: Point[] = []
  for (const duplicates of options.duplicates > 0 ? [0, options.duplicates] : [0]) {
    for (const concurrency of options.concurrency) {
      if (isWatched()) note(`measuring ${concurrency} at a time${duplicates > 0 ? ', with duplicates' : ''}`)
      points.push(await measure(session, prompts, { ...options, concurrency, duplicates }))
    }
  }
  return points
}

/** Makes prompts that no other request of the sweep has. */
class Prompts {
  readonly #session: Session
  readonly #numTokens: number
  #next = 0

  constructor(session: Session, numTokens: number) {
    this.#session = session
    this.#numTokens = numTokens
  }

  /** As many prompts as requests; the given share of them repeats the one before. */
  async take(numRequests: number, duplicates: number): Promise<Uint32Array[]> {
    const { engine, model } = this.#session
    const numDistinct = Math.max(1, Math.round(numRequests * (1 - duplicates)))
    const distinct = await Promise.all(
      Array.from({ length: numDistinct }, async () => {
        const number = String(this.#next++).padStart(6, '0')
        const text = `${number} ${TEXT.repeat(Math.ceil(this.#numTokens / 8))}`
        return (await engine.tokenize({ model, text })).slice(0, this.#numTokens)
      }),
    )
    return Array.from({ length: numRequests }, (_, at) => distinct[Math.floor((at * numDistinct) / numRequests)]!)
  }
}

type PointOptions = Pick<Point, 'concurrency' | 'duplicates'> & Pick<BenchOptions, 'rounds' | 'maxTokens'>

/** Answers requests, `concurrency` of them at the same time. */
async function measure(session: Session, prompts: Prompts, options: PointOptions): Promise<Point> {
  const { concurrency, duplicates, rounds, maxTokens } = options
  const { engine, model, signal } = session
  const rest = (await prompts.take(concurrency * rounds, duplicates)).values()
  const results: GenerateResult[] = []
  const call = async () => {
    for (const tokens of rest) {
      // All answers have the same length, so that points can be compared.
      const params = { model, prompt: { tokens }, maxTokens, ignoreEos: true, temperature: 0 }
      results.push(await engine.generate({ ...params, cache: duplicates > 0 ? 'auto' : 'off' }, { signal }))
    }
  }
  const begin = performance.now()
  await Promise.all(Array.from({ length: concurrency }, call))
  const seconds = (performance.now() - begin) / 1000
  const ttft = results.map(({ timings }) => timings.ttftMs)
  const computed = results.filter(({ served }) => served === 'computed')
  return {
    ...{ concurrency, duplicates, requests: results.length, seconds },
    tokensPerSecond: results.reduce((total, { usage }) => total + usage.outputTokens, 0) / seconds,
    ttftMs: { p50: percentile(ttft, 0.5), p95: percentile(ttft, 0.95) },
    interTokenMs: percentile(
      computed.map(({ timings, usage }) => timings.decodeMs / Math.max(usage.outputTokens - 1, 1)),
      0.5,
    ),
    shared: 1 - computed.length / results.length,
  }
}

/** The smallest value that this share of the values does not exceed. */
function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other)
  return sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)] ?? 0
}

const COLUMNS = [
  { title: 'AT A TIME', align: 'right' },
  { title: 'DUPLICATES', align: 'right' },
  { title: 'TOKENS/S', align: 'right' },
  { title: 'FIRST TOKEN P50', align: 'right' },
  { title: 'P95', align: 'right' },
  { title: 'BETWEEN TOKENS', align: 'right' },
  { title: 'SHARED', align: 'right' },
] as const

function rowOf({ concurrency, duplicates, tokensPerSecond, ttftMs, interTokenMs, shared }: Point): string[] {
  return [
    `${concurrency}`,
    `${Math.round(duplicates * 100)} %`,
    digits(tokensPerSecond),
    `${digits(ttftMs.p50)} ms`,
    `${digits(ttftMs.p95)} ms`,
    `${digits(interTokenMs)} ms`,
    `${Math.round(shared * 100)} %`,
  ]
}
