// The events of an engine. A listener that throws must not break the engine, and an `error` without listeners must not end the
// process, so events are not emitted by `EventEmitter.emit`.

import { EventEmitter } from 'node:events'
import type { EngineEvents } from '../index'
import { invalid } from './errors'
import { show } from './options'

type Name = keyof EngineEvents
type Listener<E extends Name> = (event: EngineEvents[E]) => void

/** Each declared event. */
const NAMES: Record<Name, true> = {
  'model:loaded': true,
  'model:unloaded': true,
  'generation:started': true,
  'generation:completed': true,
  'runtime:status': true,
  error: true,
}

export class Events {
  readonly #emitter = new EventEmitter()

  on<E extends Name>(name: E, listener: Listener<E>): void {
    this.#emitter.on(checked(name, listener), listener)
  }

  once<E extends Name>(name: E, listener: Listener<E>): void {
    this.#emitter.once(checked(name, listener), listener)
  }

  off<E extends Name>(name: E, listener: Listener<E>): void {
    this.#emitter.off(checked(name, listener), listener)
  }

  hasListener(name: Name): boolean {
    return this.#emitter.listenerCount(name) > 0
  }

  /** Calls the listeners of an event. An error of a listener becomes an uncaught exception, as with an `EventTarget`. */
  emit<E extends Name>(name: E, event: EngineEvents[E]): void {
    for (const listener of this.#emitter.rawListeners(name)) {
      try {
        listener.call(this.#emitter, event)
      } catch (error) {
        process.nextTick(() => {
          throw error
        })
      }
    }
  }
}

function checked(name: Name, listener: unknown): Name {
  if (!Object.hasOwn(NAMES, name)) {
    throw invalid('event', `must be one of ${Object.keys(NAMES).join(', ')}, not ${show(name)}`)
  }
  if (typeof listener !== 'function') throw invalid('listener', `must be a function, not ${show(listener)}`)
  return name
}
