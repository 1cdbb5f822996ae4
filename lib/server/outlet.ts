// Writes parts to a response of node:http as fast as its client reads them, and notices a client that leaves or does not read.

import type { ServerResponse } from 'node:http'
import { clearImmediate, clearTimeout, setImmediate, setTimeout } from '../timers'
import { bounded, MAX_MS } from './settings'

const DEFAULT_STALL_MS = 60_000

/** Where the parts come from. */
export interface Source {
  /** The next part; `undefined` at the end. */
  read(): Promise<string | Uint8Array | undefined>
  /** The client has left. */
  leave(): void
}

export class Outlet {
  readonly #response: ServerResponse
  readonly #stallMs: number
  /** Ends the wait that is under way, when the client leaves. */
  #interrupt: (() => void) | undefined

  constructor(response: ServerResponse, stallMs: number | undefined) {
    this.#response = response
    this.#stallMs = bounded(stallMs, 'stallMs', [1, MAX_MS]) ?? DEFAULT_STALL_MS
    response.once('close', () => this.#interrupt?.())
    // The only errors are those of a client that has left.
    response.on('error', () => {})
  }

  /** Writes all parts and ends the response. Resolves at its end, also if the client ended it. */
  async pump(source: Source): Promise<void> {
    const leave = () => source.leave()
    this.#response.once('close', leave)
    if (this.#response.destroyed) leave()
    // If the first part is ready in this turn of the event loop, headers are sent with it, otherwise before it.
    const headers = setImmediate(() => this.#response.flushHeaders())
    try {
      for (;;) {
        const part = await this.#unlessClosed(source.read())
        clearImmediate(headers)
        if (part === undefined || this.#response.destroyed) break
        if (!this.#response.write(part)) await this.#wait('drain')
      }
    } catch {
      // The status was sent: closing the connection is the only way to say that the answer is not whole.
      this.#response.destroy()
    }
    this.#response.off('close', leave)
    await this.end()
  }

  /** Ends the response, and waits until the client has read it. */
  async end(part?: string | Uint8Array): Promise<void> {
    if (this.#response.destroyed) return
    const finished = this.#wait('finish')
    this.#response.end(part)
    await finished
  }

  /** Waits for an event of the response. A client that does not read loses its connection. */
  async #wait(event: 'drain' | 'finish'): Promise<void> {
    const happened = new Promise<undefined>(resolve => this.#response.once(event, () => resolve(undefined)))
    const timer = setTimeout(() => this.#response.destroy(), this.#stallMs)
    await this.#unlessClosed(happened)
    clearTimeout(timer)
  }

  /** The value of a promise, or `undefined` as soon as the client leaves. There is one wait at a time. */
  #unlessClosed<T>(promise: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      this.#interrupt = () => resolve(undefined)
      if (this.#response.closed) resolve(undefined)
      promise.then(resolve, reject)
    })
  }
}
