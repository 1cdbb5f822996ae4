// The models that one engine knows: their ids and handles, and the model of a `model` param. lib/lifecycle/ loads and unloads
// them.

import { realpath } from 'node:fs/promises'
import { types } from 'node:util'
import type { ModelHandle } from '../index'
import { download } from './download/downloads'
import { isModelName } from './download/repository'
import { errorOf, invalid } from './errors'
import { isSame, Known, Model, type Source } from './lifecycle/known'
import { type Lifecycle, notLoaded } from './lifecycle/lifecycle'
import { type LoadRequest, type ModelRequest, nameOf, type UnloadRequest } from './modeloptions'
import type { Observer } from './observer'
import { isAbsent, show } from './options'
import { joined, reasonOf } from './signals'

export class Models {
  readonly #lifecycle: Lifecycle
  readonly #observer: Observer
  /** Folders are looked up one after another, so that ids do not depend on how long that takes. */
  #lookUp: Promise<unknown> = Promise.resolve()
  readonly #closing = new AbortController()

  constructor(lifecycle: Lifecycle, observer: Observer) {
    this.#lifecycle = lifecycle
    this.#observer = observer
  }

  /** Loads a model, or returns the one that is loaded from this source or has this id. */
  async load(request: LoadRequest): Promise<ModelHandle> {
    const { path, signal, onProgress } = request
    if (signal?.aborted) throw reasonOf(signal)
    const folder = await this.#folderOf(path)
    if (signal?.aborted) throw reasonOf(signal)
    refuseRevision(request, folder)
    const named = folder === undefined && request.revision === undefined ? this.#lifecycle.known.get(path) : undefined
    if (folder === undefined && named === undefined && isModelName(path)) return this.#loadFromHub(request)
    const isById = named !== undefined && isPlain(request)
    const model = isById ? named : this.#known(request, folder ?? named?.source?.folder ?? path)
    const wasLoaded = model.isResident
    this.#adjust(model, request)
    const handle = await this.#lifecycle.whenLoaded(model, request, () => model.handle as Model)
    if (wasLoaded) onProgress?.({ stage: 'load', loadedBytes: model.fileBytes, totalBytes: model.fileBytes })
    return handle
  }

  /** Makes a model known, without loading it. Returns its id. */
  async register(request: ModelRequest): Promise<string> {
    const { path, revision, token, id } = request
    const folder = await this.#folderOf(path)
    refuseRevision(request, folder)
    if (folder === undefined && !isModelName(path)) {
      throw errorOf('ModelNotFound', `there is no model folder ${show(path)}`)
    }
    const variant = { chatTemplate: request.chatTemplate, toolPrompt: request.toolPrompt }
    const model =
      folder === undefined
        ? this.#add(new Known(this.#freeId(id ?? path, path), variant, { name: path, revision, token }))
        : this.#known(request, folder)
    model.isRegistered = true
    this.#adjust(model, request)
    return model.id
  }

  /** The engine is being shut down: downloads and loads end with this error. */
  close(error: unknown): void {
    this.#closing.abort(error)
    this.#lifecycle.cancelLoads(error)
  }

  async #loadFromHub(request: LoadRequest): Promise<ModelHandle> {
    const folder = await this.#download(request).catch(error => {
      this.#observer.failed(error, 'a download')
      throw error
    })
    return this.load({ ...request, path: folder, revision: undefined })
  }

  /** Downloads a model. The signal of the caller and the end of the engine end the download. */
  async #download({ path: name, revision, token, signal, onProgress }: LoadRequest): Promise<string> {
    const closing = this.#closing.signal
    return joined([closing, signal], end => download({ name, revision, token }, { signal: end, onProgress }))
  }

  /** Unloads a model. A model that was not registered is forgotten, unless `forget` says otherwise. */
  async unload(named: unknown, { drainMs, forget }: UnloadRequest): Promise<void> {
    const model = this.modelOf(named)
    const { load } = model
    if (forget ?? !model.isRegistered) this.#lifecycle.forget(model)
    if (load !== undefined) {
      model.cancelLoad?.(notLoaded(`the model ${show(model.id)} was unloaded while it was being loaded`))
      await load.ended
    }
    await this.#lifecycle.unload(model, 'unload', drainMs)
  }

  /** A pinned model is unloaded by request only. */
  pin(named: unknown, isPinned: boolean): void {
    const model = this.modelOf(named)
    model.isPinned = isPinned
    model.show()
    if (!isPinned) this.#lifecycle.rest(model)
  }

  /** The models that were loaded, whether or not they are loaded now. */
  list(): ModelHandle[] {
    return [...this.#lifecycle.known.values()].flatMap(model => (model.handle === undefined ? [] : [model.handle]))
  }

  /** Statistics with the model's id in place of the addon's key. Models that are being loaded or unloaded are left out. */
  named<T extends { key: number }>(figures: T[]): (Omit<T, 'key'> & { model: string })[] {
    return figures.flatMap(({ key, ...rest }) => {
      const model = this.#lifecycle.withKey(key)
      return model?.isResident ? [{ model: model.id, ...rest }] : []
    })
  }

  find(named: unknown): ModelHandle | undefined {
    const model =
      typeof named === 'string' ? this.#lifecycle.known.get(named) : this.#lifecycle.byHandle.get(handle(named))
    return model?.isForgotten ? undefined : model?.handle
  }

  /** The model of a `model` param. It may have to be loaded. */
  modelOf(named: unknown): Known {
    if (typeof named !== 'string') return this.#modelOfHandle(handle(named))
    const found = this.#lifecycle.known.get(named)
    if (found === undefined) throw notLoaded(`no model with id ${show(named)} is loaded; ${this.#names()}`)
    return found
  }

  /** The model of a source. It becomes known if it is not. */
  #known({ id, chatTemplate, toolPrompt }: ModelRequest, folder: string): Known {
    const source = { folder, chatTemplate, toolPrompt }
    const known = [...this.#lifecycle.known.values()].find(known => isSame(known.source, source))
    if (known === undefined) return this.#add(new Known(this.#newId(id, source), { chatTemplate, toolPrompt }, source))
    if (id !== undefined && id !== known.id) {
      throw invalid('id', `is ${show(id)}, but this model is loaded as ${show(known.id)}: a model has one id`)
    }
    return known
  }

  #add(model: Known): Known {
    this.#lifecycle.known.set(model.id, model)
    return model
  }

  #adjust(model: Known, { pin, warmup }: ModelRequest): void {
    model.isPinned = pin ?? model.isPinned
    model.warmup = warmup ?? model.warmup
    model.show()
  }

  /** The id of a new model: the given one, or the name of its folder, with a number if that is taken. */
  #newId(given: string | undefined, source: Source): string {
    const name = given ?? nameOf(source.folder)
    const taken = this.#lifecycle.known.get(name)
    if (taken === undefined || given !== undefined) return this.#freeId(name, source.folder)
    if (taken.source?.folder === source.folder) {
      const message = `is missing: this folder is loaded as ${show(name)} with another chatTemplate or toolPrompt, so this one`
      throw invalid('id', `${message} needs an id of its own`)
    }
    let number = 2
    while (this.#lifecycle.known.has(`${name}-${number}`)) number++
    return `${name}-${number}`
  }

  /** A given id, which must not be taken. */
  #freeId(id: string, path: string): string {
    const taken = this.#lifecycle.known.get(id)
    if (taken === undefined) return id
    const place = taken.source?.folder ?? taken.remote?.name ?? path
    throw invalid('id', `${show(id)} is taken by the model in ${place}: choose another id, or unload it`)
  }

  /** The real path of a folder; `undefined` if there is none. */
  #folderOf(path: string): Promise<string | undefined> {
    const before = this.#lookUp
    const found = realpath(path).catch(() => undefined)
    this.#lookUp = before.then(() => found)
    return this.#lookUp as Promise<string | undefined>
  }

  #modelOfHandle(handle: object): Known {
    const model = this.#lifecycle.byHandle.get(handle)
    if (model === undefined) throw notLoaded('`model` is not a handle of this engine')
    if (model.isForgotten) throw notLoaded('`model` was unloaded')
    return model
  }

  #names(): string {
    const ids = [...this.#lifecycle.known.keys()]
    return ids.length === 0 ? 'none is: call loadModel() first' : `loaded are: ${ids.join(', ')}`
  }
}

function handle(model: unknown): object {
  if (isAbsent(model)) throw invalid('model', 'is required: a handle from loadModel(), or the id of a loaded model')
  if (types.isPromise(model)) throw invalid('model', 'is a promise: await loadModel(), and pass the handle')
  if (typeof model === 'object') return model
  throw invalid('model', `must be a handle from loadModel() or an id, not ${show(model)}`)
}

/** The id of a handle, of any engine. */
export function idOfHandle(model: object): string | undefined {
  return model instanceof Model ? model.id : undefined
}

/** A folder has no revisions. */
function refuseRevision({ path, revision }: ModelRequest, folder: string | undefined): void {
  if (folder === undefined || revision === undefined) return
  throw invalid('revision', `is for a model of the hub, and ${show(path)} is a folder`)
}

/** Whether a request is for a model as it is loaded. */
function isPlain({ id, chatTemplate, toolPrompt }: LoadRequest): boolean {
  return id === undefined && chatTemplate === undefined && toolPrompt === undefined
}
