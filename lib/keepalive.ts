// Holds the process open, and the engine in memory, while a caller waits for something; never otherwise. The addon's
// wake does neither: a process with an idle engine exits by itself, an engine without references can be collected.

import { clearInterval, LONGEST_TIMER_MS, setInterval } from './timers'

/** The engines that a caller waits for. Being in here keeps them from being collected. */
const busy = new Set<object>()
let timer: NodeJS.Timeout | undefined

/** Something that is held while a caller waits. */
export interface Hold {
  begin(): void
  end(): void
}

/** Counts the calls that wait for one engine. */
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

  /** Holds on until `work` is settled. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.begin()
    try {
      return await work()
    } finally {
      this.end()
    }
  }
}

/** Holds nothing: another source waits for it. */
export const NO_HOLD: Hold = { begin() {}, end() {} }
