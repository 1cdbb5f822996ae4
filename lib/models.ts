// The loaded models of one engine: their handles and ids, and the model of a `model` param. Concurrent loads of one model
// load it once. The addon does the loading.

import { realpath } from 'node:fs/promises'
import { types } from 'node:util'
import type { ModelCapabilities, ModelHandle } from '../index'
import { download } from './download/downloads'
import { isModelName } from './download/repository'
import { errorOf, invalid, unwrap } from './errors'
import { type LoadRequest, nameOf, type Variant } from './modeloptions'
import type { NativeEngine, NativeModelInfo } from './native'
import { isAbsent, show } from './options'
import { SharedLoad } from './sharedload'
import { reasonOf } from './signals'

/** What a model is loaded from. Two loads of the same source are one model. */
interface Source extends Variant {
  readonly folder: string
}

class Model implements ModelHandle {
  readonly id: string
  readonly path: string
  readonly family: string
  readonly contextLength: number
  readonly vocabSize: number
  declare readonly quantization?: { readonly bits: number; readonly groupSize: number }
  readonly bytes: number
  readonly computeType: ModelHandle['computeType']
  readonly capabilities: ModelCapabilities
  readonly warnings: readonly string[]
  state: ModelHandle['state'] = 'loaded'

  constructor(id: string, info: NativeModelInfo) {
    this.id = id
    this.path = info.path
    this.family = info.family
    this.contextLength = info.contextLength
    this.vocabSize = info.vocabSize
    if (info.quantization) this.quantization = info.quantization
    this.bytes = info.bytes
    this.computeType = info.computeType
    this.capabilities = capabilitiesOf(info)
    this.warnings = info.warnings
  }
}

/** A model that is loaded. */
interface Loaded {
  readonly id: string
  readonly source: Source
  readonly key: number
  readonly model: Model
  readonly fileBytes: number
}

/** A model that a caller waits for. */
interface Loading {
  readonly id: string
  readonly source: Source
  readonly load: SharedLoad<Model>
}

export class Models {
  readonly #native: NativeEngine
  /** Models by the addon's key, in the order of loading. */
  readonly #loaded = new Map<number, Loaded>()
  readonly #keys = new WeakMap<object, number>()
  readonly #loading = new Set<Loading>()
  #numLoads = 0
  /** Folders are looked up one after another, so that ids do not depend on how long that takes. */
  #lookUp: Promise<unknown> = Promise.resolve()

  constructor(native: NativeEngine) {
    this.#native = native
  }

  /** Loads a model, or returns the one that is loaded from this source or has this id. */
  async load(request: LoadRequest): Promise<ModelHandle> {
    const { path, signal, onProgress } = request
    if (signal?.aborted) throw reasonOf(signal)
    const folder = await this.#folderOf(path)
    if (signal?.aborted) throw reasonOf(signal)
    if (folder !== undefined && request.revision !== undefined) {
      throw invalid('revision', `is for a model of the hub, and ${show(path)} is a folder`)
    }
    const named = folder === undefined && request.revision === undefined ? this.#withId(path) : undefined
    if (folder === undefined && named === undefined && isModelName(path)) return this.#loadFromHub(request)
    const known = named !== undefined && isPlain(request) ? named : this.#known(request, folder ?? named?.source.folder)
    if ('load' in known) return known.load.wait(request)
    onProgress?.({ stage: 'load', loadedBytes: known.fileBytes, totalBytes: known.fileBytes })
    return known.model
  }

  async #loadFromHub(request: LoadRequest): Promise<ModelHandle> {
    const { path: name, revision, token, signal, onProgress } = request
    const folder = await download({ name, revision, token }, { signal, onProgress })
    return this.load({ ...request, path: folder, revision: undefined })
  }

  async unload(model: unknown): Promise<void> {
    const key = this.keyOf(model)
    this.#forget(key)
    const error = await this.#native.unloadModel(key)
    unwrap(error)
  }

  list(): ModelHandle[] {
    return [...this.#loaded.values()].map(({ model }) => model)
  }

  /** Statistics with the model's id in place of the addon's key. Models that are being loaded or unloaded are left out. */
  named<T extends { key: number }>(figures: T[]): (Omit<T, 'key'> & { model: string })[] {
    return figures.flatMap(({ key, ...rest }) => {
      const loaded = this.#loaded.get(key)
      return loaded === undefined ? [] : [{ model: loaded.id, ...rest }]
    })
  }

  find(model: unknown): ModelHandle | undefined {
    if (typeof model === 'string') return this.#loadedAs(model)?.model
    const key = this.#keys.get(handle(model))
    return key === undefined ? undefined : this.#loaded.get(key)?.model
  }

  /** The addon's key of a `model` param. */
  keyOf(model: unknown): number {
    if (typeof model !== 'string') return this.#keyOfHandle(handle(model))
    const found = this.#loadedAs(model)
    if (found === undefined) throw notLoaded(`no model with id ${show(model)} is loaded; ${this.#names()}`)
    return found.key
  }

  /** Token ids of a model are below this. */
  vocabSizeOf(key: number): number {
    return this.#loaded.get(key)?.model.vocabSize ?? 0
  }

  /** The engine is closed: all handles become invalid. */
  close(): void {
    for (const key of [...this.#loaded.keys()]) this.#forget(key)
  }

  /** The model of a source, loaded or being loaded. Its load begins if there is none. */
  #known({ path, id, chatTemplate, toolPrompt }: LoadRequest, folder: string | undefined): Loaded | Loading {
    // The addon reports a missing folder.
    const source = { folder: folder ?? path, chatTemplate, toolPrompt }
    const known = this.#all().find(known => isSame(known.source, source))
    if (known === undefined) return this.#begin(this.#newId(id, source), source)
    if (id !== undefined && id !== known.id) {
      throw invalid('id', `is ${show(id)}, but this model is loaded as ${show(known.id)}: a model has one id`)
    }
    return known
  }

  /** The id of a new model: the given one, or the name of its folder, with a number if that is taken. */
  #newId(given: string | undefined, source: Source): string {
    const name = given ?? nameOf(source.folder)
    const taken = this.#withId(name)
    if (taken === undefined) return name
    if (given !== undefined) {
      throw invalid(
        'id',
        `${show(name)} is taken by the model in ${taken.source.folder}: choose another id, or unload it`,
      )
    }
    if (taken.source.folder === source.folder) {
      const message = `is missing: this folder is loaded as ${show(name)} with another chatTemplate or toolPrompt, so this one`
      throw invalid('id', `${message} needs an id of its own`)
    }
    let number = 2
    while (this.#withId(`${name}-${number}`) !== undefined) number++
    return `${name}-${number}`
  }

  #begin(id: string, source: Source): Loading {
    const number = this.#numLoads++
    const load: SharedLoad<Model> = new SharedLoad({
      load: () => this.#load(loading, number),
      progress: () => {
        const bytes = this.#native.loadProgress(number)
        return bytes && { stage: 'load', ...bytes }
      },
      abort: () => {
        // A later request for this model starts a new load.
        this.#loading.delete(loading)
        this.#native.abortLoad(number)
      },
    })
    const loading = { id, source, load }
    this.#loading.add(loading)
    return loading
  }

  async #load(loading: Loading, number: number): Promise<Model> {
    const { id, source, load } = loading
    const { folder: path, chatTemplate, toolPrompt } = source
    try {
      const info = unwrap(await this.#native.loadModel({ path, chatTemplate, toolPrompt }, number))
      const { key, fileBytes } = info
      const model = new Model(id, info)
      load.complete({ stage: 'load', loadedBytes: fileBytes, totalBytes: fileBytes })
      if (load.isAbandoned) {
        // No caller waits for the model: the abort came too late to stop the load.
        unwrap(await this.#native.unloadModel(key))
        return model
      }
      this.#loaded.set(key, { id, source, key, model, fileBytes })
      this.#keys.set(model, key)
      return model
    } finally {
      this.#loading.delete(loading)
    }
  }

  /** The real path of a folder; `undefined` if there is none. */
  #folderOf(path: string): Promise<string | undefined> {
    const before = this.#lookUp
    const found = realpath(path).catch(() => undefined)
    this.#lookUp = before.then(() => found)
    return this.#lookUp as Promise<string | undefined>
  }

  #all(): (Loaded | Loading)[] {
    return [...this.#loaded.values(), ...this.#loading]
  }

  /** The model with an id, loaded or being loaded. */
  #withId(id: string): Loaded | Loading | undefined {
    return this.#all().find(known => known.id === id)
  }

  #loadedAs(id: string): Loaded | undefined {
    return [...this.#loaded.values()].find(loaded => loaded.id === id)
  }

  #keyOfHandle(model: object): number {
    const key = this.#keys.get(model)
    if (key === undefined) throw notLoaded('`model` is not a handle of this engine')
    if (!this.#loaded.has(key)) throw notLoaded('`model` was unloaded')
    return key
  }

  #forget(key: number): void {
    const loaded = this.#loaded.get(key)
    if (loaded !== undefined) loaded.model.state = 'unloaded'
    this.#loaded.delete(key)
  }

  #names(): string {
    const ids = this.list().map(model => model.id)
    return ids.length === 0 ? 'none is: call loadModel() first' : `loaded are: ${ids.join(', ')}`
  }
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

/** The id of a handle, of any engine. */
export function idOfHandle(model: object): string | undefined {
  return model instanceof Model ? model.id : undefined
}

function capabilitiesOf({ capabilities, contextLength, computeType }: NativeModelInfo): ModelCapabilities {
  const { toolCallFormat, toolPrompt, ...rest } = capabilities
  return Object.freeze({
    ...rest,
    ...(toolCallFormat && { toolCallFormat }),
    ...(toolPrompt && { toolPrompt }),
    logprobs: true,
    contextLength,
    computeType,
  })
}

function isSame(one: Source, other: Source): boolean {
  return one.folder === other.folder && one.chatTemplate === other.chatTemplate && one.toolPrompt === other.toolPrompt
}

/** Whether a request is for a model as it is loaded. */
function isPlain({ id, chatTemplate, toolPrompt }: LoadRequest): boolean {
  return id === undefined && chatTemplate === undefined && toolPrompt === undefined
}
