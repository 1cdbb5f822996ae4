// A load that several callers may wait for, each with a signal of its own. It goes on as long as one of them waits.

import { reasonOf, watch } from './signals'

export class SharedLoad<T> {
  readonly #end: Promise<T>
  readonly #abort: () => void
  #numWaiting = 0

  /** `load` is called at once, after the constructor; `abort` once no caller waits any more. */
  constructor(load: () => Promise<T>, abort: () => void) {
    this.#end = Promise.resolve().then(load)
    // Every caller may have left.
    this.#end.catch(() => {})
    this.#abort = abort
  }

  /** Whether every caller that waited has left. */
  get isAbandoned(): boolean {
    return this.#numWaiting === 0
  }

  /** Waits for the end. Rejects with the signal's reason as soon as it aborts. */
  wait(signal: AbortSignal | undefined): Promise<T> {
    this.#numWaiting++
    if (signal === undefined) return this.#end
    return new Promise((resolve, reject) => {
      const unwatch = watch(signal, () => {
        unwatch()
        reject(reasonOf(signal))
        if (--this.#numWaiting === 0) this.#abort()
      })
      this.#end.then(resolve, reject).finally(unwatch)
    })
  }
}
