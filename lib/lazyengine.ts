// The engine of an integration with a framework: one that was passed, or one that starts with its first request.

import type { Engine, EngineOptions } from '../index'
import { createEngine } from './engine'
import { errorOf } from './errors'
import { show } from './options'

export class LazyEngine {
  readonly #given: Engine | undefined
  readonly #options: EngineOptions | undefined
  #own: Promise<Engine> | undefined

  constructor(given?: Engine, options?: EngineOptions) {
    this.#given = given
    this.#options = options
  }

  /** Starts its own engine at most once. A start that failed is tried again by the next request. */
  async get(): Promise<Engine> {
    if (this.#given !== undefined) return this.#given
    const own = this.#own ?? createEngine(this.#options)
    this.#own = own
    try {
      return await own
    } catch (error) {
      if (this.#own === own) this.#own = undefined
      throw error
    }
  }

  /** Ends its own engine, if it was started. */
  async dispose(): Promise<void> {
    const engine = await this.#own?.catch(() => undefined)
    await engine?.dispose()
  }
}

/** The default engine of `mlx` and `ChatMlx`. They share it: a model in two engines would need its memory twice. */
export const sharedEngine = new LazyEngine()

/** An engine that a caller passed. It may come from another copy of the package. */
export function readEngine(value: unknown): Engine {
  const isEngine = typeof value === 'object' && value !== null && typeof (value as Engine).generate === 'function'
  if (isEngine) return value as Engine
  const message = `\`engine\` must be an engine of createEngine(), awaited, not ${show(value)}`
  throw errorOf('ConfigError', message, { param: 'engine' })
}
