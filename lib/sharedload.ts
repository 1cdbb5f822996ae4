// A load that several callers may wait for, each with a signal and a listener of its own. It goes on as long as one of them
// waits.

import type { LoadProgress } from '../index'
import { reasonOf, watch } from './signals'
import { clearInterval, setInterval } from './timers'

/** The time between two reports of progress: at most 20 a second. */
const INTERVAL_MS = 50

export type OnLoadProgress = (progress: LoadProgress) => void

/** How one caller waits for a load. */
export interface Waiting {
  signal?: AbortSignal | undefined
  onProgress?: OnLoadProgress | undefined
}

/** The work behind a {@link SharedLoad}. */
export interface Work<T> {
  /** Loads. Called at once, after the constructor. */
  load(): Promise<T>
  /** Called once no caller waits any more. */
  abort(): void
  /** How far the load is. */
  progress(): LoadProgress | null
}

export class SharedLoad<T> {
  readonly #end: Promise<T>
  readonly #work: Work<T>
  readonly #listeners = new Set<OnLoadProgress>()
  #numWaiting = 0
  #timer: NodeJS.Timeout | undefined
  #reported: number | undefined

  constructor(work: Work<T>) {
    this.#work = work
    this.#end = Promise.resolve().then(() => work.load())
    // If every caller has left, a failed load must not become an unhandled rejection.
    this.#end.catch(() => {})
  }

  /** Whether every caller that waited has left. */
  get isAbandoned(): boolean {
    return this.#numWaiting === 0
  }

  /** Settled once the load has ended and given back what it does not need. Never rejects. */
  get ended(): Promise<unknown> {
    return this.#end.catch(() => {})
  }

  /** Waits for the end. Rejects with the signal's reason as soon as it aborts, and with an error of the listener. */
  wait({ signal, onProgress }: Waiting): Promise<T> {
    this.#numWaiting++
    if (signal === undefined && onProgress === undefined) return this.#end
    return new Promise((resolve, reject) => {
      const leave = (reason: unknown) => {
        end()
        reject(reason)
        if (--this.#numWaiting === 0) this.#work.abort()
      }
      const unwatch = signal && watch(signal, () => leave(reasonOf(signal)))
      const unlisten = onProgress && this.#listen(onProgress, leave)
      const end = () => {
        unwatch?.()
        unlisten?.()
      }
      this.#end.then(resolve, reject).finally(end)
    })
  }

  /** The load is done: the last report to all listeners. */
  complete({ stage, totalBytes }: LoadProgress): void {
    this.#report({ stage, loadedBytes: totalBytes, totalBytes })
  }

  #listen(onProgress: OnLoadProgress, fail: (error: unknown) => void): () => void {
    const listener = (progress: LoadProgress) => {
      try {
        onProgress(progress)
      } catch (error) {
        fail(error)
      }
    }
    this.#listeners.add(listener)
    this.#timer ??= setInterval(() => this.#poll(), INTERVAL_MS)
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size > 0) return
      clearInterval(this.#timer)
      this.#timer = undefined
    }
  }

  /** Reports news. A complete load is reported at its end. */
  #poll(): void {
    const progress = this.#work.progress()
    // There is none before the load has begun and after its end.
    if (progress === null || progress.totalBytes === 0) return
    const { loadedBytes, totalBytes } = progress
    if (loadedBytes !== this.#reported && loadedBytes < totalBytes) this.#report(progress)
  }

  #report(progress: LoadProgress): void {
    this.#reported = progress.loadedBytes
    // A copy, because a listener that throws leaves.
    for (const listener of [...this.#listeners]) listener({ ...progress })
  }
}
