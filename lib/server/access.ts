// Decides which requests may use the server, by host name (against DNS rebinding), origin of the web page, and API key.

import { createHash, timingSafeEqual } from 'node:crypto'
import type { Incoming } from './incoming'
import { HttpError } from './problem'
import type { Key, Settings } from './settings'

const ANY = '*'
const EXPOSED_HEADERS = 'x-request-id, x-mlx-serving-warning, retry-after, retry-after-ms'

export class Access {
  readonly #settings: Settings
  readonly #keys: { digest: Buffer; key: Key }[]

  constructor(settings: Settings) {
    this.#settings = settings
    this.#keys = settings.keys.map(key => ({ digest: digestOf(key.key), key }))
  }

  /** Refuses a request under a foreign host name, and one of a foreign web page. */
  checkSource(request: Incoming): void {
    const host = hostOf(request)
    const { hosts } = this.#settings
    if (!hosts.includes(ANY) && !hosts.includes(host)) {
      throw new HttpError(403, 'host_not_allowed', 'this host name is not allowed; see the option `hosts`')
    }
    const origin = request.headers.get('origin')
    if (origin !== null && !this.#isAllowed(origin)) {
      throw new HttpError(403, 'origin_not_allowed', 'this origin is not allowed; see the option `origins`')
    }
  }

  /** The key of a request; `undefined` if none is needed. */
  keyOf({ headers }: Incoming): Key | undefined {
    if (this.#keys.length === 0) return undefined
    const bearer = /^bearer +(\S+)$/i.exec(headers.get('authorization') ?? '')?.[1]
    // A client may send the key of another service in one of the two.
    const found = this.#find(headers.get('x-api-key')) ?? this.#find(bearer)
    if (found !== undefined) return found
    throw new HttpError(401, 'invalid_api_key', 'a valid API key is needed', {
      headers: { 'www-authenticate': 'Bearer' },
    })
  }

  /**
   * The answer to the question of a browser whether a page may send a request. An allowed page may send any header: clients
   * add headers of their own.
   */
  preflight({ headers: asked }: Incoming): Response {
    const headers = {
      'access-control-allow-methods': 'GET, POST, DELETE',
      'access-control-allow-headers': asked.get('access-control-request-headers') ?? '',
      'access-control-max-age': '600',
      vary: 'access-control-request-headers',
    }
    return new Response(null, { status: 204, headers })
  }

  /** Lets an allowed page read a response. */
  expose(request: Incoming, headers: Headers): void {
    headers.append('vary', 'origin')
    const origin = request.headers.get('origin')
    if (origin === null || !this.#isAllowed(origin)) return
    headers.set('access-control-allow-origin', origin)
    headers.set('access-control-expose-headers', EXPOSED_HEADERS)
  }

  #isAllowed(origin: string): boolean {
    const { origins } = this.#settings
    return origins.includes(ANY) || origins.includes(origin)
  }

  /** Compares digests of equal length, and always all keys, so that the time reveals nothing about a key. */
  #find(given: string | null | undefined): Key | undefined {
    const digest = digestOf(given ?? '')
    let found: Key | undefined
    for (const { digest: expected, key } of this.#keys) {
      if (timingSafeEqual(digest, expected)) found = key
    }
    return found
  }
}

const digestOf = (key: string): Buffer => createHash('sha256').update(key).digest()

/** The host name of a request, without port. A web request that did not come over HTTP/1 has it in its URL. */
function hostOf(request: Incoming): string {
  const host = request.headers.get('host') ?? new URL(request.url).host
  return host.replace(/:\d*$/, '').toLowerCase()
}
