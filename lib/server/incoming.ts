// A request as the routes see it. A web `Request` has these fields. A request of node:http is not converted to
// a web `Request`, because that takes a considerable part of the time to the first token.

import type { IncomingMessage } from 'node:http'
import type { Handler } from '../../server'

export interface Incoming {
  readonly method: string
  readonly url: string
  readonly headers: { get(name: string): string | null }
  readonly signal: AbortSignal
  readonly body: AsyncIterable<Uint8Array> | null
}

/**
 * The base against which the path of a request is resolved. Its host is not the `host` header, which the client chooses, and is
 * checked only if a request has no such header.
 */
export const BASE = 'http://localhost'

/** The handlers of this package, as functions of such a request. */
export const directHandlers = new WeakMap<Handler, (incoming: Incoming) => Promise<Response>>()

/** The request of node:http, whose target begins with a slash. */
export function incomingOf(message: IncomingMessage, signal: AbortSignal): Incoming {
  const { method = 'GET', url } = message
  return {
    method,
    url: `${BASE}${url}`,
    // A header that is repeated is one with all values, as in web requests.
    headers: { get: name => message.headersDistinct[name]?.join(', ') ?? null },
    signal,
    body: message.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>,
  }
}
