// Reports what happens in an engine to the listeners of its events and to its log. Does nothing while there are neither.

import { AsyncResource } from 'node:async_hooks'
import type { GenerationStartedEvent, ModelHandle, ModelUnloadedEvent, RuntimeStatusEvent } from '../index'
import type { Outcome } from './answer'
import { MlxServingError } from './errors'
import { Events } from './events'
import type { LifecycleObserver } from './lifecycle/counts'
import type { Log } from './log'

/** Codes of failures that the caller of the engine did not cause. */
const FAULTS: readonly string[] = ['BackendError', 'InsufficientMemory', 'ModelLoadError', 'DownloadError']
/** The events that need the start and the end of each generation. */
const OF_GENERATIONS = ['generation:started', 'generation:completed', 'error'] as const
/** Refusals for overload are many. They are logged at most once in this time. */
const OVERLOAD_LOG_MS = 1_000

export class Observer {
  readonly events = new Events()
  readonly log: Log
  #overloads = 0
  #lastOverload = Number.NEGATIVE_INFINITY

  constructor(log: Log) {
    this.log = log
  }

  /**
   * A request is being submitted. Returns a function to call with its outcome, in the async context of this call; nothing if no
   * listener and no log needs it.
   */
  submitting(request: () => GenerationStartedEvent): ((outcome: Outcome) => void) | undefined {
    const { events, log } = this
    if (!OF_GENERATIONS.some(name => events.hasListener(name)) && !log.isEnabled('error')) return undefined
    const event = request()
    log.write('debug', 'generation started', { id: event.id, model: event.model })
    events.emit('generation:started', event)
    const start = performance.now()
    return AsyncResource.bind((outcome: Outcome) => this.#completed(event, outcome, performance.now() - start))
  }

  loaded(model: ModelHandle, durationMs: number): void {
    const { id, bytes } = model
    this.log.write('info', 'model loaded', { id, bytes, ms: durationMs })
    this.events.emit('model:loaded', { model, durationMs })
  }

  unloaded(event: ModelUnloadedEvent): void {
    this.log.write('info', 'model unloaded', { id: event.model.id, reason: event.reason })
    this.events.emit('model:unloaded', event)
  }

  /** Reports loads and unloads of models. */
  ofModels(): LifecycleObserver {
    return {
      loaded: ({ handle }, ms) => handle && this.loaded(handle, ms),
      loadFailed: (_, error) => this.failed(error, 'a load'),
      unloaded: ({ handle }, reason) => handle && this.unloaded({ model: handle, reason }),
    }
  }

  status(status: RuntimeStatusEvent['status']): void {
    // The start is logged with the settings, by lib/engine.ts.
    if (status !== 'ready') this.log.write('info', `engine ${status}`)
    this.events.emit('runtime:status', { status })
  }

  /** A call has failed. Failures that its caller caused are not reported. */
  failed(error: unknown, during: string): void {
    if (!(error instanceof MlxServingError) || !FAULTS.includes(error.code)) return
    this.log.write('error', `${during} failed`, { code: error.code, message: error.message })
    this.events.emit('error', error)
  }

  #completed({ id, model }: GenerationStartedEvent, outcome: Outcome, ms: number): void {
    if ('result' in outcome) {
      const { finishReason, served, usage } = outcome.result
      const { inputTokens, outputTokens } = usage
      this.log.write('debug', 'generation completed', {
        id,
        model,
        finishReason,
        served,
        inputTokens,
        outputTokens,
        ms,
      })
      this.events.emit('generation:completed', { id, model, durationMs: ms, result: outcome.result })
      return
    }
    const { error } = outcome
    const code = error instanceof MlxServingError ? error.code : undefined
    this.log.write('debug', 'generation failed', { id, model, code, ms })
    if (code === 'Overloaded') this.#overloaded()
    this.failed(error, 'a generation')
    this.events.emit('generation:completed', { id, model, durationMs: ms, error })
  }

  #overloaded(): void {
    this.#overloads++
    const now = performance.now()
    if (now - this.#lastOverload < OVERLOAD_LOG_MS) return
    this.#lastOverload = now
    this.log.write('warn', 'requests are refused: the engine is overloaded', { refused: this.#overloads })
    this.#overloads = 0
  }
}
