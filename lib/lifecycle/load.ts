// One attempt to load a model: downloads it if it is to be downloaded, and loads it. lib/sharedload.ts lets several callers
// wait for it, and lib/lifecycle/lifecycle.ts makes room for it.

import type { LoadProgress } from '../../index'
import { download } from '../download/downloads'
import { errorOf, isNativeError } from '../errors'
import type { NativeEngine, NativeError, NativeModelInfo } from '../native'
import type { Known, Source } from './known'

export class LoadAttempt {
  readonly #native: NativeEngine
  readonly #model: Known
  /** Names the load for the addon. */
  readonly #number: number
  readonly #end = new AbortController()
  #downloading: LoadProgress | undefined
  #cancelled: { error: unknown } | undefined

  constructor(native: NativeEngine, model: Known, number: number) {
    this.#native = native
    this.#model = model
    this.#number = number
  }

  /** Aborts when the attempt is cancelled, with the error of {@link cancel}. */
  get signal(): AbortSignal {
    return this.#end.signal
  }

  /** Finds the folder. Called once, before `load`. */
  async locate(): Promise<void> {
    const model = this.#model
    if (model.source !== undefined || model.remote === undefined) return
    const onProgress = (progress: LoadProgress) => {
      this.#downloading = progress
    }
    const folder = await download(model.remote, { signal: this.signal, onProgress })
    this.#downloading = undefined
    model.source = { ...model.variant, folder }
  }

  /** Loads the folder. It can be called again after an error. */
  async load(): Promise<NativeModelInfo | NativeError> {
    this.check()
    const { folder: path, chatTemplate, toolPrompt } = this.#model.source as Source
    const { id } = this.#model
    const answer = await this.#native.loadModel({ path, id, chatTemplate, toolPrompt }, this.#number)
    if (isNativeError(answer)) this.check()
    return answer
  }

  /** Throws once the attempt was cancelled. */
  check(): void {
    if (this.#cancelled !== undefined) throw this.#cancelled.error
  }

  /** Ends the attempt: what it has loaded is given back, and its callers get the error. */
  cancel(error: unknown = errorOf('Cancelled', 'the load was aborted')): void {
    this.#cancelled ??= { error }
    this.#end.abort(error)
    this.#native.abortLoad(this.#number)
  }

  progress(): LoadProgress | null {
    if (this.#downloading !== undefined) return this.#downloading
    const bytes = this.#native.loadProgress(this.#number)
    return bytes && { stage: 'load', ...bytes }
  }
}
