// Many generations may share one AbortSignal. Each signal gets one listener, whatever their number, so that adding and
// removing is cheap and no listener limit is met; the listener goes when the last of them has ended.

import { invalid } from './errors'
import { isAbsent, reading } from './options'

/** The one listener of a signal, and whom it tells. */
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
      // A signal may be any object of that shape. An answer that has ended does not fail by it.
    }
  }

  handleEvent(): void {
    // A copy: each callback ends a generation, which removes its callback.
    for (const callback of [...this.#callbacks]) callback()
  }
}

const watched = new WeakMap<AbortSignal, Watchers>()

/** Calls `onAbort` when `signal` aborts. Returns what takes that back; it must be called at the end. */
export function watch(signal: AbortSignal, onAbort: () => void): () => void {
  let watchers = watched.get(signal)
  if (watchers === undefined) {
    watchers = new Watchers(signal)
    watched.set(signal, watchers)
  }
  watchers.add(onAbort)
  return () => watchers.remove(onAbort)
}

/** The `signal` of an options object. Recognised by shape: it may come from another realm, as in Jest or Electron. */
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

/** Why `signal` aborted: what promise and iterator reject with. Signals that are not Node's may know no reasons. */
export function reasonOf({ reason }: AbortSignal): unknown {
  return reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason
}
