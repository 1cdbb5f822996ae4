// Calls back when a model has been idle for a time. A use does not touch the timer of its model. When the timer fires, it checks
// the time of the last use, and is armed again for the remaining time. So there is at most one timer for each model.

import { clearTimeout, LONGEST_TIMER_MS, setTimeout } from '../timers'

/** What is watched. */
export interface Idler {
  /** Uses under way. */
  readonly numUses: number
  /** When the last use ended, on the clock of `now`. */
  readonly idleSince: number
  idleTimer: NodeJS.Timeout | undefined
}

/** Time and timers; a test passes its own. */
export interface IdleClock {
  now(): number
  setTimeout(callback: () => void, ms: number): NodeJS.Timeout
  clearTimeout(timer: NodeJS.Timeout | undefined): void
}

const REAL: IdleClock = { now: () => performance.now(), setTimeout, clearTimeout }

export class IdleTimers<M extends Idler> {
  readonly #afterMs: number
  readonly #onIdle: (model: M) => void
  readonly clock: IdleClock

  /** `onIdle` must not keep the engine in memory: timers would do so until they fire. With 0 it is never called. */
  constructor(afterMs: number, onIdle: (model: M) => void, clock = REAL) {
    this.#afterMs = afterMs
    this.#onIdle = onIdle
    this.clock = clock
  }

  /** The model is loaded, or its last use has ended. */
  watch(model: M): void {
    if (this.#afterMs > 0 && model.idleTimer === undefined && model.numUses === 0) this.#arm(model, this.#afterMs)
  }

  unwatch(model: M): void {
    this.clock.clearTimeout(model.idleTimer)
    model.idleTimer = undefined
  }

  #arm(model: M, ms: number): void {
    model.idleTimer = this.clock.setTimeout(() => this.#fire(model), Math.min(ms, LONGEST_TIMER_MS))
    model.idleTimer.unref?.()
  }

  #fire(model: M): void {
    model.idleTimer = undefined
    // The end of the last use arms the timer again.
    if (model.numUses > 0) return
    const rest = model.idleSince + this.#afterMs - this.clock.now()
    if (rest > 0) this.#arm(model, Math.ceil(rest))
    else this.#onIdle(model)
  }
}
