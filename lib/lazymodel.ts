// A model of an integration with a framework: it has a name at once, and is loaded by its first request.

import type { Engine, LoadModelOptions, ModelHandle } from '../index'
import { invalid } from './errors'
import type { LazyEngine } from './lazyengine'
import { isAbsent, show } from './options'
import { leftOf, loadingInTime } from './signals'

/** What a model is asked for with. Absent for the bundled model. */
export type ModelSource = string | Omit<LoadModelOptions, 'signal'> | ModelHandle | undefined

/** The name of the bundled model. */
const BUNDLED = 'demo'

export class LazyModel {
  /** The name that it was asked for with. The id of the loaded model may differ. */
  readonly name: string
  readonly #engine: LazyEngine
  readonly #source: ModelSource
  #handle: ModelHandle | undefined

  constructor(engine: LazyEngine, source: unknown) {
    this.#engine = engine
    this.#source = readSource(source)
    this.name = nameOf(this.#source)
  }

  /**
   * The engine and the model for a request, and what is left of its `timeoutMs`. The first request loads the model. Concurrent
   * first requests share one load, which ends when all of them are aborted or late. A model that was unloaded since is loaded
   * by its request.
   */
  async ready(signal?: AbortSignal, timeoutMs?: number): Promise<ReadyModel> {
    const engine = await this.#engine.get()
    if (isHandle(this.#source)) return { engine, model: this.#source, timeoutMs }
    if (this.#handle !== undefined && engine.getModelInfo(this.#handle) !== undefined) {
      return { engine, model: this.#handle, timeoutMs }
    }
    const began = performance.now()
    const options = typeof this.#source === 'string' ? { path: this.#source } : this.#source
    const load = (end: AbortSignal) => engine.loadModel({ ...options, signal: end })
    this.#handle = await loadingInTime(signal, timeoutMs, load)
    return { engine, model: this.#handle, timeoutMs: leftOf(timeoutMs, performance.now() - began) }
  }
}

/** What a request needs. */
export interface ReadyModel {
  readonly engine: Engine
  readonly model: ModelHandle
  readonly timeoutMs: number | undefined
}

function readSource(source: unknown): ModelSource {
  if (isAbsent(source)) return undefined
  if (typeof source === 'string' || (typeof source === 'object' && !Array.isArray(source))) return source as ModelSource
  throw invalid('model', `must be a name, options of loadModel() or a loaded model, not ${show(source)}`)
}

function nameOf(source: ModelSource): string {
  if (typeof source === 'string') return source
  if (isHandle(source)) return source.id
  return source?.id ?? source?.path ?? BUNDLED
}

/** A handle of any engine, in any copy of the package. */
function isHandle(source: ModelSource): source is ModelHandle {
  return typeof source === 'object' && 'capabilities' in source
}
