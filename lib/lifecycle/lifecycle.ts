// When models are loaded and unloaded. A model is loaded when it is asked for, once for all callers. It is unloaded when it was
// idle for long, when another one needs its memory, and on request. All loads and unloads happen here; `LifecycleObserver`
// reports them. The addon knows what fits: a load that does not fit says how many bytes are missing.

import type { LifecycleStats, UnloadReason } from '../../index'
import { errorOf, isNativeError, unwrap } from '../errors'
import type { NativeEngine, NativeError, NativeModelInfo } from '../native'
import { SharedLoad, type Waiting } from '../sharedload'
import { reasonOf, settled } from '../signals'
import { Counts, type LifecycleObserver } from './counts'
import { IdleTimers } from './idle'
import { type Known, Model } from './known'
import { LoadAttempt } from './load'
import { victims } from './room'
import type { LifecycleSettings } from './settings'
import { Transitions } from './transitions'

/** Runs a short request on a model that was loaded. */
export type WarmUp = (model: Known) => Promise<void>

/** A load that does not fit beside the models that are loaded. */
interface Shortage extends NativeError {
  limit: number
  requested: number
}

export class Lifecycle {
  readonly settings: LifecycleSettings
  /** The models that can be asked for, by id. */
  readonly known = new Map<string, Known>()
  readonly byHandle = new WeakMap<object, Known>()
  readonly #native: NativeEngine
  readonly #warmUp: WarmUp
  readonly #counts = new Counts()
  readonly #observers: LifecycleObserver[] = [this.#counts]
  readonly #idle: IdleTimers<Known>
  readonly #transitions = new Transitions<Known>()
  /** Loaded models by the addon's key, also those that are being unloaded. */
  readonly #loaded = new Map<number, Known>()
  #numLoads = 0
  #numUses = 0
  /** Loads make room one after another, so that two of them do not unload more than they need. */
  #makingRoom: Promise<unknown> | undefined
  #isClosed = false

  constructor(native: NativeEngine, settings: LifecycleSettings, warmUp: WarmUp) {
    this.settings = settings
    this.#native = native
    this.#warmUp = warmUp
    // Weak: a timer must not keep an unreferenced engine in memory.
    const self = new WeakRef(this)
    this.#idle = new IdleTimers(settings.idleUnloadMs, model => {
      const lifecycle = self.deref()
      if (lifecycle !== undefined) lifecycle.#idled(model)
    })
  }

  observe(observer: LifecycleObserver): void {
    this.#observers.push(observer)
  }

  stats(): LifecycleStats {
    return this.#counts.stats(this.known.values())
  }

  /** The loaded model with this key of the addon. */
  withKey(key: number): Known | undefined {
    return this.#loaded.get(key)
  }

  /** A call uses the model until {@link end}: it is not unloaded meanwhile, unless by request. */
  begin(model: Known): void {
    if (model.isPrefetched) this.#report(observer => observer.prefetchUsed?.(model))
    this.#report(observer => observer.found?.(model, model.isResident))
    this.#numUses++
    model.use()
    if (this.settings.prefetch.enabled) this.#transitions.note(model)
  }

  end(model: Known): void {
    model.numUses--
    model.idleSince = this.#idle.clock.now()
    if (model.isResident) this.#idle.watch(model)
    if (--this.#numUses === 0) this.#prefetch()
  }

  /**
   * Calls `work` with the key of the model at a time when it is loaded, and loads it before if necessary. All callers wait for
   * one load. Its error goes to all of them, and the next call tries again.
   */
  async whenLoaded<T>(model: Known, waiting: Waiting, work: (key: number) => T): Promise<T> {
    for (;;) {
      if (waiting.signal?.aborted) throw reasonOf(waiting.signal)
      if (model.isForgotten) throw notLoaded(`the model ${JSON.stringify(model.id)} was unloaded`)
      if (this.#isClosed) throw errorOf('EngineClosed', 'the engine is shut down')
      if (model.isResident) return work(model.key as number)
      // Requests that come while a model is being unloaded wait for its end, and load it again.
      if (model.unloading !== undefined) await settled(model.unloading, waiting.signal)
      else await (model.load ?? this.#beginLoad(model)).wait(waiting)
    }
  }

  /** Unloads a model. Running requests may end within `drainMs`. Of several calls the shortest time counts. */
  unload(model: Known, reason: UnloadReason, drainMs = this.settings.drainMs): Promise<void> {
    const { key, unloading } = model
    if (key === undefined) return Promise.resolve()
    if (unloading !== undefined) {
      this.#native.unloadModel(key, drainMs, !model.isForgotten).catch(() => {})
      return unloading
    }
    this.#idle.unwatch(model)
    model.isPrefetched = false
    const ended = this.#unload(model, key, reason, drainMs)
    model.unloading = ended
    // Its waiters handle errors.
    ended.catch(() => {})
    model.show()
    return ended
  }

  /** The model may become idle: it is not pinned any more. */
  rest(model: Known): void {
    if (model.isResident) this.#idle.watch(model)
  }

  /** The model is not known any more. */
  forget(model: Known): void {
    model.isForgotten = true
    if (this.known.get(model.id) === model) this.known.delete(model.id)
    this.#transitions.forget(model, this.known.values())
  }

  /** Ends all loads with this error. */
  cancelLoads(error: unknown): void {
    for (const model of this.known.values()) {
      if (model.load !== undefined) model.cancelLoad?.(error)
    }
  }

  /** The engine is closed, and with it all models. */
  close(): void {
    this.#isClosed = true
    for (const model of new Set([...this.known.values(), ...this.#loaded.values()])) {
      this.#idle.unwatch(model)
      if (model.isResident) this.#unloaded(model, 'shutdown')
      model.load = undefined
      model.show()
    }
  }

  #beginLoad(model: Known, isPrefetch = false): SharedLoad<Model> {
    const attempt = new LoadAttempt(this.#native, model, this.#numLoads++)
    const cancel = (error?: unknown) => {
      // A later request for this model starts a new load.
      if (model.load === load) model.load = undefined
      model.show()
      attempt.cancel(error)
    }
    const load: SharedLoad<Model> = new SharedLoad({
      load: () => this.#load(model, attempt, load, isPrefetch),
      progress: () => attempt.progress(),
      abort: cancel,
    })
    model.load = load
    model.cancelLoad = cancel
    model.show()
    return load
  }

  async #load(model: Known, attempt: LoadAttempt, load: SharedLoad<Model>, isPrefetch: boolean): Promise<Model> {
    let handle: Model
    try {
      await attempt.locate()
      const began = this.#idle.clock.now()
      const info = await this.#fit(model, attempt)
      load.complete({ stage: 'load', loadedBytes: info.fileBytes, totalBytes: info.fileBytes })
      handle = await this.#take(model, attempt, info)
      this.#report(observer => observer.loaded?.(model, this.#idle.clock.now() - began, isPrefetch))
    } catch (error) {
      this.#report(observer => observer.loadFailed?.(model, error))
      // A model that was never loaded is forgotten, unless it was registered or a newer load of it has begun.
      const isUnknown = model.handle === undefined && !model.isRegistered
      if (isUnknown && (model.load === load || model.load === undefined)) this.forget(model)
      throw error
    } finally {
      if (model.load === load) model.load = undefined
      model.show()
    }
    if (model.warmup ?? this.settings.warmup) await this.#warm(model)
    return handle
  }

  /** The load has succeeded. Gives it back if it was cancelled too late to stop it. */
  async #take(model: Known, attempt: LoadAttempt, info: NativeModelInfo): Promise<Model> {
    try {
      attempt.check()
      if (this.#isClosed) throw errorOf('EngineClosed', 'the engine is shut down')
    } catch (error) {
      await this.#native.unloadModel(info.key, 0, true)
      throw error
    }
    model.handle ??= new Model(model.id, model.unloads)
    this.byHandle.set(model.handle, model)
    model.handle.describe(info)
    model.key = info.key
    model.fileBytes = info.fileBytes
    model.loads++
    model.idleSince = this.#idle.clock.now()
    this.#loaded.set(info.key, model)
    this.#idle.watch(model)
    return model.handle
  }

  /** A warm-up that fails does no harm: requests report errors of the device. */
  async #warm(model: Known): Promise<void> {
    model.numUses++
    try {
      await this.#warmUp(model)
    } catch {
    } finally {
      model.numUses--
      model.idleSince = this.#idle.clock.now()
      if (model.isResident) this.#idle.watch(model)
    }
  }

  /** Loads, and unloads other models first if that makes it fit. A load ahead of a request uses free memory only. */
  async #fit(model: Known, attempt: LoadAttempt): Promise<NativeModelInfo> {
    const answer = await attempt.load()
    if (!this.settings.evict || model.isPrefetched || !isShortage(answer)) return unwrap(answer)
    const before = this.#makingRoom
    const fitted = this.#fitAfter(before, model, attempt, answer)
    const isOver = Promise.allSettled([before, fitted])
    this.#makingRoom = isOver
    isOver.finally(() => {
      if (this.#makingRoom === isOver) this.#makingRoom = undefined
    })
    return fitted
  }

  async #fitAfter(
    before: Promise<unknown> | undefined,
    model: Known,
    attempt: LoadAttempt,
    answer: Shortage,
  ): Promise<NativeModelInfo> {
    if (before === undefined) return this.#makeFit(model, attempt, answer)
    // By then `answer` is out of date, so it is not passed on.
    await settled(before, attempt.signal)
    return this.#makeFit(model, attempt)
  }

  async #makeFit(model: Known, attempt: LoadAttempt, known?: Shortage): Promise<NativeModelInfo> {
    let answer: NativeModelInfo | NativeError = known ?? (await attempt.load())
    while (isShortage(answer)) {
      await this.#makeRoom(model, attempt, answer)
      answer = await attempt.load()
    }
    return unwrap(answer)
  }

  /** Unloads models without work until what is missing is free. Throws, and unloads none, if that is not possible. */
  async #makeRoom(model: Known, attempt: LoadAttempt, shortage: Shortage): Promise<void> {
    if (this.#stopPrefetching()) return
    const others = [...this.#loaded.values()].filter(other => other !== model)
    const leaving = others.filter(other => other.unloading !== undefined)
    const coming = leaving.reduce((sum, other) => sum + (other.bytes ?? 0), 0)
    const idle = others.filter(other => other.isResident && !other.isPinned && other.numUses === 0)
    const candidates = idle.map(other => ({ bytes: other.bytes ?? 0, lastUsedAt: other.idleSince, other }))
    const chosen = victims(candidates, shortage.requested - shortage.limit - coming)
    if (chosen === undefined) throw this.#noRoom(shortage, idle)
    const unloads = chosen.map(({ other }) => this.unload(other, 'evicted'))
    const freed = Promise.allSettled([...unloads, ...leaving.map(other => other.unloading)])
    await settled(freed, attempt.signal)
  }

  #noRoom({ message, limit, requested }: Shortage, idle: readonly Known[]): Error {
    const kept = [...this.#loaded.values(), ...this.known.values()].filter(model => !idle.includes(model))
    const named = (what: string, isIt: (model: Known) => boolean) => {
      const ids = new Set(kept.filter(isIt).map(({ id }) => id))
      return ids.size === 0 ? [] : [`${what}: ${[...ids].join(', ')}`]
    }
    const reasons = [
      ...named('pinned', model => model.isPinned && model.isResident),
      ...named('busy', model => !model.isPinned && model.isResident),
    ]
    const why = reasons.length > 0 ? ` (${reasons.join('; ')})` : ''
    const advice = `unloading all other models that may be unloaded would not make room${why}`
    return errorOf('InsufficientMemory', `${message}; ${advice}`, { limit, requested })
  }

  async #unload(model: Known, key: number, reason: UnloadReason, drainMs: number): Promise<void> {
    try {
      unwrap(await this.#native.unloadModel(key, drainMs, !model.isForgotten))
    } finally {
      this.#unloaded(model, reason)
      model.show()
    }
  }

  #unloaded(model: Known, reason: UnloadReason): void {
    if (model.key !== undefined) this.#loaded.delete(model.key)
    model.key = undefined
    model.unloading = undefined
    model.unloads[reason]++
    this.#report(observer => observer.unloaded?.(model, reason))
  }

  #idled(model: Known): void {
    if (this.#isClosed || model.isPinned || !model.isResident || model.numUses > 0) return
    this.unload(model, 'idle')
  }

  /** Nothing is used: loads what will probably be asked for next, if it fits into free memory. */
  #prefetch(): void {
    const { enabled, minConfidence, maxModels } = this.settings.prefetch
    if (!enabled || this.#isClosed) return
    const likely = this.#transitions.next().filter(({ confidence }) => confidence >= minConfidence)
    const absent = likely.map(({ model }) => model).filter(model => model.state === 'unloaded' && !model.isForgotten)
    if (absent.length === 0) return
    let free = this.#native.stats().memory.freeWeightBytes ?? Number.POSITIVE_INFINITY
    let count = [...this.known.values()].filter(model => model.isPrefetched).length
    for (const model of absent) {
      if (count >= maxModels) return
      if (model.bytes === undefined || model.bytes > free) continue
      free -= model.bytes
      count++
      this.#prefetchModel(model)
    }
  }

  #prefetchModel(model: Known): void {
    const controller = new AbortController()
    model.isPrefetched = true
    model.stopPrefetch = () => controller.abort()
    const load = this.#beginLoad(model, true)
    const end = () => {
      model.stopPrefetch = undefined
      if (!model.isResident) model.isPrefetched = false
    }
    load.wait({ signal: controller.signal }).then(end, end)
  }

  /** Ends loads that no request waits for. Returns whether there were any. */
  #stopPrefetching(): boolean {
    let hasStopped = false
    for (const model of this.known.values()) {
      const { load, stopPrefetch } = model
      if (load === undefined || stopPrefetch === undefined) continue
      stopPrefetch()
      hasStopped ||= load.isAbandoned
    }
    return hasStopped
  }

  #report(tell: (observer: LifecycleObserver) => void): void {
    for (const observer of this.#observers) tell(observer)
  }
}

/** The error about a model that is not known. */
export function notLoaded(message: string): Error {
  return errorOf('ModelNotLoaded', message, { param: 'model' })
}

function isShortage(answer: NativeModelInfo | NativeError): answer is Shortage {
  if (!isNativeError(answer) || answer.code !== 'InsufficientMemory') return false
  const { limit, requested } = answer
  return typeof limit === 'number' && typeof requested === 'number' && requested > limit
}
