// Keeps the process alive, and the engine in memory, while a caller waits. The addon's wake function does neither: a
// process with an idle engine exits by itself, and an engine without references can be garbage-collected.

import { clearInterval, LONGEST_TIMER_MS, setInterval } from './timers'

/** The engines with a waiting caller. This set keeps them in memory. */
const busy = new Set<object>()
let timer: NodeJS.Timeout | undefined

/** Counts the start and end of each wait. */
export interface Hold {
  begin(): void
  end(): void
}

/** Counts the waiting calls of one engine. */
export class KeepAlive implements Hold {
  readonly #owner: object
  #count = 0

  constructor(owner: object) {
    this.#owner = owner
  }

  begin(): void {
    if (this.#count++ > 0) return
    busy.add(this.#owner)
    timer ??= setInterval(() => {}, LONGEST_TIMER_MS)
  }

  end(): void {
    if (--this.#count > 0) return
    busy.delete(this.#owner)
    if (busy.size > 0) return
    clearInterval(timer)
    timer = undefined
  }

  /** Counts as a waiting call until `work` is settled. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.begin()
    try {
      return await work()
    } finally {
      this.end()
    }
  }
}

/** Counts nothing. The answers of a request with several answers have it, because their `Choices` counts for all of them. */
export const NO_HOLD: Hold = { begin() {}, end() {} }
