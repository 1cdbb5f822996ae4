// Listens to AbortSignals. Many generations may share one signal, so each signal gets only one listener: adding and
// removing a generation is cheap, and Node's limit of listeners is not reached. The listener is removed with the last one.

import { errorOf, invalid } from './errors'
import { isAbsent, reading } from './options'
import { clearTimeout, LONGEST_TIMER_MS, setTimeout } from './timers'

/** The one listener of a signal, and its callbacks. */
class Watchers {
  readonly #signal: AbortSignal
  readonly #callbacks = new Set<() => void>()

  constructor(signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', this, { once: true })
  }

  add(callback: () => void): void {
    this.#callbacks.add(callback)
  }

  remove(callback: () => void): void {
    if (!this.#callbacks.delete(callback) || this.#callbacks.size > 0) return
    watched.delete(this.#signal)
    try {
      this.#signal.removeEventListener('abort', this)
    } catch {
      // A signal may be any object of that shape. If it throws, the ended answer must not fail.
    }
  }

  handleEvent(): void {
    // A copy, because each callback ends a generation, which removes its callback.
    for (const callback of [...this.#callbacks]) callback()
  }
}

const watched = new WeakMap<AbortSignal, Watchers>()

/** Calls `onAbort` when `signal` aborts. Returns a function that undoes this; it must be called at the end. */
export function watch(signal: AbortSignal, onAbort: () => void): () => void {
  let watchers = watched.get(signal)
  if (watchers === undefined) {
    watchers = new Watchers(signal)
    watched.set(signal, watchers)
  }
  watchers.add(onAbort)
  return () => watchers.remove(onAbort)
}

/** Reads the option `signal`. It is recognized by its shape, as it may come from another realm, as in Jest or Electron. */
export function readSignal(value: unknown): AbortSignal | undefined {
  if (isAbsent(value)) return undefined
  const signal = value as AbortSignal
  const isSignal = reading(
    'options.signal',
    () =>
      typeof signal?.aborted === 'boolean' &&
      typeof signal.addEventListener === 'function' &&
      typeof signal.removeEventListener === 'function',
  )
  if (!isSignal) throw invalid('options.signal', 'must be an AbortSignal')
  return signal
}

/** The reason of an aborted signal. Signals that are not Node's may have none. */
export function reasonOf({ reason }: AbortSignal): unknown {
  return reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason
}

/** Waits until a promise is settled, whatever its outcome. Rejects with the signal's reason as soon as it aborts. */
export function settled(promise: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const unwatch = signal && watch(signal, () => reject(reasonOf(signal)))
    const end = () => {
      unwatch?.()
      resolve()
    }
    promise.then(end, end)
  })
}

/** Runs `work` with a signal that aborts as soon as one of these signals does, with its reason. */
export async function joined<T>(
  signals: readonly (AbortSignal | undefined)[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const end = new AbortController()
  const undo = signals.flatMap(signal => {
    if (signal === undefined) return []
    if (signal.aborted) end.abort(reasonOf(signal))
    return [watch(signal, () => end.abort(reasonOf(signal)))]
  })
  try {
    return await work(end.signal)
  } finally {
    for (const unwatch of undo) unwatch()
  }
}

/** Like {@link joined}, with a signal that also aborts after `ms`: the deadline of a request counts while its model is loaded. */
export async function loadingInTime<T>(
  signal: AbortSignal | undefined,
  ms: number | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const end = () => late.abort(errorOf('Timeout', 'the deadline passed while the model was being loaded'))
  const timer = ms === undefined || ms > LONGEST_TIMER_MS ? undefined : setTimeout(end, ms)
  try {
    return await joined([signal, late.signal], work)
  } finally {
    clearTimeout(timer)
  }
}

/** What is left of a time, in whole milliseconds; at least 1. */
export function leftOf(ms: number | undefined, passedMs: number): number | undefined {
  return ms && Math.max(1, Math.floor(ms - passedMs))
}
