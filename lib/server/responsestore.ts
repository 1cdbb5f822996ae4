// The answers of /v1/responses that a later request can continue, within bounds. The oldest is forgotten first.

import type { Message } from '../../index'
import type { Settings } from './settings'

export interface StoredResponse {
  /** The response as it was sent. */
  readonly response: object
  /** The conversation up to its end, without the instructions, which each request has for itself. */
  readonly messages: readonly Message[]
}

interface Entry {
  readonly stored: StoredResponse
  readonly tenant: string | undefined
  readonly bytes: number
}

export class ResponseStore {
  readonly #limits: Settings['responses']
  /** The entries, oldest first. */
  readonly #entries = new Map<string, Entry>()
  #bytes = 0

  constructor(limits: Settings['responses']) {
    this.#limits = limits
  }

  put(id: string, tenant: string | undefined, stored: StoredResponse): void {
    const { maxEntries, maxBytes } = this.#limits
    const bytes = Buffer.byteLength(JSON.stringify(stored))
    if (maxEntries === 0 || bytes > maxBytes) return
    this.#entries.set(id, { stored, tenant, bytes })
    this.#bytes += bytes
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= maxEntries && this.#bytes <= maxBytes) break
      this.#remove(oldest)
    }
  }

  /** A tenant finds its own responses only. */
  get(id: string, tenant: string | undefined): StoredResponse | undefined {
    const entry = this.#entries.get(id)
    return entry?.tenant === tenant ? entry?.stored : undefined
  }

  /** Whether there was such a response. */
  delete(id: string, tenant: string | undefined): boolean {
    if (this.get(id, tenant) === undefined) return false
    this.#remove(id)
    return true
  }

  #remove(id: string): void {
    this.#bytes -= this.#entries.get(id)?.bytes ?? 0
    this.#entries.delete(id)
  }
}
