// The figures of a running engine for the live page: those of `engine.stats()` as text, and memory. They have no text of prompts
// or answers. There is no timer: figures are computed when the page asks for them.

import type { Engine, ModelHandle, ModelStats, Percentiles } from '../../index'
import { memoryBytes } from '../environment'
import { bytes, count, digits, duration, percent, prefixHits, prefixTokens } from './figures'

/** The figures of an engine at one time. */
export interface Snapshot {
  /** Figures as text, by the `data-field` of the element that shows them. */
  readonly fields: Readonly<Record<string, string>>
  /** Shares from 0 to 1, for meters. */
  readonly shares: Readonly<Record<string, number>>
  /** Values for lines over time, by the name of their line; `null` while there is none. */
  readonly series: Readonly<Record<string, number | null>>
  readonly models: readonly (readonly string[])[]
}

export class Monitor {
  readonly #engine: Engine
  readonly #started = performance.now()
  #kvLimit = 0
  #models: readonly ModelHandle[] = []

  constructor(engine: Engine) {
    this.#engine = engine
  }

  snapshot(): Snapshot {
    const stats = this.#engine.stats()
    this.#readOpen()
    const weights = this.#models.reduce((total, model) => total + model.bytes, 0)
    const { cache, rejected } = stats
    const memory = memoryBytes()
    return {
      fields: {
        uptime: duration(performance.now() - this.#started),
        running: count(stats.running),
        queued: count(stats.queued),
        joined: count(stats.joined),
        batchLimit: stats.models.map(({ batchLimit }) => batchLimit).join(', ') || '0',
        meanBatch: digits(stats.meanBatch),
        window: stats.models.map(({ windowMs, windowTier }) => `${windowMs} ms (${windowTier})`).join(', ') || 'none',
        tokensPerSecond: rate(stats.tokensPerSecond.last5s),
        ...firstTokens(stats.latency.ttft),
        completed: count(stats.completed),
        failed: count(stats.failed),
        cancelled: count(stats.cancelled),
        refused: count(Object.values(rejected).reduce((sum, refused) => sum + refused, 0)),
        shared: percent(cache.sharedRatio),
        hitsRunning: count(cache.coalescing.hits),
        hitsEnded: count(cache.dedup.hits),
        hitsCached: count(cache.promptCache.hits),
        cached: `${count(cache.entries)} answers, ${bytes(cache.bytes)}`,
        prefixHits: prefixHits(cache.prefix),
        prefixTokens: prefixTokens(cache.prefix),
        prefixKept: count(cache.prefix.entries),
        prefixKeptTokens: count(cache.prefix.tokens),
        kv: `${bytes(stats.kvBytes)} of ${bytes(this.#kvLimit)}`,
        weights: `${bytes(weights)} of ${bytes(memory)}`,
        process: bytes(process.memoryUsage.rss()),
      },
      shares: { kv: stats.kvBytes / (this.#kvLimit || 1), weights: weights / memory },
      series: {
        tokensPerSecond: stats.tokensPerSecond.last5s,
        running: stats.running,
        queued: stats.queued,
        ttftP50: stats.latency.ttft?.p50Ms ?? null,
        ttftP95: stats.latency.ttft?.p95Ms ?? null,
      },
      models: stats.models.map(figures => this.#modelRow(figures)),
    }
  }

  /** Reads the KV limit and the models. An engine that is shut down refuses both, and the last values stay. */
  #readOpen(): void {
    try {
      this.#kvLimit = Number(this.#engine.config()['memory.kvBytes']?.value ?? 0)
      this.#models = this.#engine.listModels()
    } catch {
      // It is shut down.
    }
  }

  #modelRow({ model, running, queued, batchLimit, windowMs, kvBytes, preemptions }: ModelStats): string[] {
    const handle = this.#models.find(({ id }) => id === model)
    return [
      model,
      handle === undefined ? '' : `${handle.family}, ${handle.computeType}`,
      handle === undefined ? '' : bytes(handle.bytes),
      `${count(running)} of ${batchLimit}`,
      count(queued),
      `${windowMs} ms`,
      bytes(kvBytes),
      count(preemptions),
    ]
  }
}

function firstTokens(ttft: Percentiles | undefined): Record<string, string> {
  const shown = (ms: number | undefined) => (ms === undefined ? 'none yet' : duration(ms))
  return { ttftP50: shown(ttft?.p50Ms), ttftP95: shown(ttft?.p95Ms), ttftP99: shown(ttft?.p99Ms) }
}

function rate(perSecond: number): string {
  return perSecond < 100 ? digits(perSecond) : count(Math.round(perSecond))
}
