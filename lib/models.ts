// The loaded models of one engine: their handles, how a `model` param finds one, and that a model is loaded once,
// however many ask for it at the same time. Loading itself happens in the addon.

import { realpath } from 'node:fs/promises'
import { types } from 'node:util'
import type { ModelHandle } from '../index'
import { errorOf, invalid, unwrap } from './errors'
import type { NativeEngine, NativeModelInfo } from './native'
import { isAbsent, isArray, reading, readKnown, show } from './options'

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
  /** By the addon's key, in the order of loading. */
  readonly #loaded = new Map<number, Model>()
  readonly #keys = new WeakMap<object, number>()
  /** The folder each model was asked for by; what the addon reports as its path may be spelled in another way. */
  readonly #folders = new WeakMap<Model, string>()
  /** By folder: loads that have not ended. */
  readonly #loading = new Map<string, Promise<Model>>()

  constructor(native: NativeEngine) {
    this.#native = native
  }

  /** Loads a folder, or finds what is loaded under that path or id. */
  async load(path: string): Promise<ModelHandle> {
    const folder = await realpath(path).catch(() => undefined)
    const found = folder === undefined ? this.#withId(path)[0] : this.#at(folder)
    if (found !== undefined) return found
    // A folder that is not there is the addon's to report.
    const key = folder ?? path
    const loading = this.#loading.get(key) ?? this.#load(key)
    this.#loading.set(key, loading)
    return loading
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

  /** Figures by the addon's key, under the ids users know. What is being loaded or unloaded has none. */
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

  /** The engine is closed: no handle is good any more. */
  close(): void {
    for (const key of [...this.#loaded.keys()]) this.#forget(key)
  }

  async #load(path: string): Promise<Model> {
    try {
      const info = unwrap(await this.#native.loadModel({ path }))
      const model = new Model(info)
      this.#loaded.set(info.key, model)
      this.#keys.set(model, info.key)
      this.#folders.set(model, path)
      return model
    } finally {
      this.#loading.delete(path)
    }
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

/** The path in the options of `loadModel`. Objects of other kinds have no options of their own: a URL, say, or a Promise. */
export function pathOf(options: unknown): unknown {
  if (isAbsent(options)) return undefined
  const wrong = () => invalid('model', `must be the path of a model folder, or { path }, not ${show(options)}`)
  if (typeof options !== 'object' || isArray(options, 'model')) throw wrong()
  const prototype = reading('model', () => Object.getPrototypeOf(options))
  const isPlain = prototype === null || reading('model', () => Object.getPrototypeOf(prototype)) === null
  if (!isPlain && !reading('model', () => Object.hasOwn(options, 'path'))) throw wrong()
  return readKnown(options, 'options', ['path']).path
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
