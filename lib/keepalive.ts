// Holds the process open, and in memory whoever waits, while there is unfinished work; never otherwise. The addon's
// wake does neither: a process with an idle engine exits by itself, an engine that nobody refers to can be collected.

import { clearInterval, setInterval } from './timers'

const LONGEST_TIMER_MS = 2 ** 31 - 1

/** Those with unfinished work. Being in here is what keeps them from being collected. */
const busy = new Set<object>()
let timer: NodeJS.Timeout | undefined

/** Counts the unfinished work of one owner. */
export class KeepAlive {
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
