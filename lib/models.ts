// The loaded models of one engine: their handles, and the model of a `model` param. Concurrent loads of one model load it
// once. The addon does the loading.

import { realpath } from 'node:fs/promises'
import { types } from 'node:util'
import type { ModelHandle } from '../index'
import { errorOf, invalid, unwrap } from './errors'
import type { NativeEngine, NativeModelInfo } from './native'
import { isAbsent, isArray, reading, readKnown, show } from './options'
import { SharedLoad } from './sharedload'
import { reasonOf } from './signals'

class Model implements ModelHandle {
  readonly id: string
  readonly path: string
  readonly family: string
  readonly contextLength: number
  readonly vocabSize: number
  declare readonly quantization?: { readonly bits: number; readonly groupSize: number }
  readonly bytes: number
  readonly computeType: ModelHandle['computeType']
  readonly warnings: readonly string[]
  state: ModelHandle['state'] = 'loaded'

  constructor(info: NativeModelInfo) {
    this.id = info.id
    this.path = info.path
    this.family = info.family
    this.contextLength = info.contextLength
    this.vocabSize = info.vocabSize
    if (info.quantization) this.quantization = info.quantization
    this.bytes = info.bytes
    this.computeType = info.computeType
    this.warnings = info.warnings
  }
}

export class Models {
  readonly #native: NativeEngine
  /** Models by the addon's key, in the order of loading. */
  readonly #loaded = new Map<number, Model>()
  readonly #keys = new WeakMap<object, number>()
  /** The folder that each model was loaded from. The path that the addon reports may be spelled differently. */
  readonly #folders = new WeakMap<Model, string>()
  /** Loads in progress that a caller waits for, by folder. */
  readonly #loading = new Map<string, SharedLoad<Model>>()
  #numLoads = 0

  constructor(native: NativeEngine) {
    this.#native = native
  }

  /** Loads a folder, or returns the model that is loaded from this path or has this id. */
  async load(path: string, signal?: AbortSignal): Promise<ModelHandle> {
    if (signal?.aborted) throw reasonOf(signal)
    const folder = await realpath(path).catch(() => undefined)
    if (signal?.aborted) throw reasonOf(signal)
    const found = folder === undefined ? this.#withId(path)[0] : this.#at(folder)
    if (found !== undefined) return found
    // The addon reports a missing folder.
    const key = folder ?? path
    return (this.#loading.get(key) ?? this.#begin(key)).wait(signal)
  }

  async unload(model: unknown): Promise<void> {
    const key = this.keyOf(model)
    this.#forget(key)
    const error = await this.#native.unloadModel(key)
    unwrap(error)
  }

  list(): ModelHandle[] {
    return [...this.#loaded.values()]
  }

  /** Statistics with the model's id in place of the addon's key. Models that are being loaded or unloaded are left out. */
  named<T extends { key: number }>(figures: T[]): (Omit<T, 'key'> & { model: string })[] {
    return figures.flatMap(({ key, ...rest }) => {
      const model = this.#loaded.get(key)
      return model === undefined ? [] : [{ model: model.id, ...rest }]
    })
  }

  find(model: unknown): ModelHandle | undefined {
    if (typeof model === 'string') return this.#withId(model)[0]
    const key = this.#keys.get(handle(model))
    return key === undefined ? undefined : this.#loaded.get(key)
  }

  /** The addon's key of a `model` param. */
  keyOf(model: unknown): number {
    if (typeof model !== 'string') return this.#keyOfHandle(handle(model))
    const [found, other] = this.#withId(model)
    if (found === undefined) throw notLoaded(`no model with id ${show(model)} is loaded; ${this.#names()}`)
    if (other !== undefined) throw invalid('model', `fits several loaded models: pass the handle, not ${show(model)}`)
    return this.#keys.get(found) as number
  }

  /** Token ids of a model are below this. */
  vocabSizeOf(key: number): number {
    return this.#loaded.get(key)?.vocabSize ?? 0
  }

  /** The engine is closed: all handles become invalid. */
  close(): void {
    for (const key of [...this.#loaded.keys()]) this.#forget(key)
  }

  #begin(path: string): SharedLoad<Model> {
    const number = this.#numLoads++
    const load: SharedLoad<Model> = new SharedLoad(
      () => this.#load(path, number, load),
      () => {
        // A later request for this path starts a new load.
        this.#forgetLoad(path, load)
        this.#native.abortLoad(number)
      },
    )
    this.#loading.set(path, load)
    return load
  }

  async #load(path: string, number: number, load: SharedLoad<Model>): Promise<Model> {
    try {
      const info = unwrap(await this.#native.loadModel({ path }, number))
      // The abort came too late to stop it.
      if (load.isAbandoned) unwrap(await this.#native.unloadModel(info.key))
      const model = new Model(info)
      if (load.isAbandoned) return model
      this.#loaded.set(info.key, model)
      this.#keys.set(model, info.key)
      this.#folders.set(model, path)
      return model
    } finally {
      this.#forgetLoad(path, load)
    }
  }

  #forgetLoad(path: string, load: SharedLoad<Model>): void {
    if (this.#loading.get(path) === load) this.#loading.delete(path)
  }

  #at(folder: string): Model | undefined {
    return [...this.#loaded.values()].find(model => this.#folders.get(model) === folder)
  }

  #withId(id: string): Model[] {
    return [...this.#loaded.values()].filter(model => model.id === id)
  }

  #keyOfHandle(model: object): number {
    const key = this.#keys.get(model)
    if (key === undefined) throw notLoaded('`model` is not a handle of this engine')
    if (!this.#loaded.has(key)) throw notLoaded('`model` was unloaded')
    return key
  }

  #forget(key: number): void {
    const model = this.#loaded.get(key)
    if (model !== undefined) model.state = 'unloaded'
    this.#loaded.delete(key)
  }

  #names(): string {
    const ids = this.list().map(model => model.id)
    return ids.length === 0 ? 'none is: call loadModel() first' : `loaded are: ${ids.join(', ')}`
  }
}

/** The options of `loadModel`. Objects that are not plain and have no own `path` are refused, such as a URL. */
export function loadOptionsOf(options: unknown): { path?: unknown; signal?: unknown } {
  if (isAbsent(options)) return {}
  const wrong = (what = show(options)) =>
    invalid('model', `must be the path of a model folder, or { path }, not ${what}`)
  if (options instanceof Model) throw wrong(`a handle: the model ${show(options.id)} was loaded before`)
  if (typeof options !== 'object' || isArray(options, 'model')) throw wrong()
  const prototype = reading('model', () => Object.getPrototypeOf(options))
  const isPlain = prototype === null || reading('model', () => Object.getPrototypeOf(prototype)) === null
  if (!isPlain && !reading('model', () => Object.hasOwn(options, 'path'))) throw wrong()
  return readKnown(options, 'options', ['path', 'signal'])
}

function handle(model: unknown): object {
  if (isAbsent(model)) throw invalid('model', 'is required: a handle from loadModel(), or the id of a loaded model')
  if (types.isPromise(model)) throw invalid('model', 'is a promise: await loadModel(), and pass the handle')
  if (typeof model === 'object') return model
  throw invalid('model', `must be a handle from loadModel() or an id, not ${show(model)}`)
}

function notLoaded(message: string): Error {
  return errorOf('ModelNotLoaded', message, { param: 'model' })
}
