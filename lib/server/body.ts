// The JSON body of a request. Size, encoding and nesting are checked before it is parsed.

import { Fields } from './fields'
import type { Incoming } from './incoming'
import { HttpError } from './problem'

/** More than any schema that the engine takes. */
const MAX_LEVELS = 256

export async function readBody(request: Incoming, maxBytes: number): Promise<Fields> {
  const encoding = request.headers.get('content-encoding') ?? 'identity'
  if (encoding !== 'identity') {
    throw new HttpError(415, 'unsupported_encoding', 'the body must not be compressed')
  }
  return new Fields(parsed(decoded(await bytesOf(request, maxBytes))))
}

async function bytesOf({ headers, body }: Incoming, maxBytes: number): Promise<Uint8Array> {
  const tooLarge = () => new HttpError(413, 'request_too_large', `the body has more than ${maxBytes} bytes`)
  if (Number(headers.get('content-length') ?? 0) > maxBytes) throw tooLarge()
  if (body === null) return new Uint8Array()
  const parts: Uint8Array[] = []
  let size = 0
  const arriving = body[Symbol.asyncIterator]()
  for (;;) {
    const { done, value } = await arrival(arriving)
    if (done) return Buffer.concat(parts)
    size += value.byteLength
    if (size > maxBytes) {
      arriving.return?.().catch(() => {})
      throw tooLarge()
    }
    parts.push(value)
  }
}

async function arrival(arriving: AsyncIterator<Uint8Array>) {
  try {
    return await arriving.next()
  } catch {
    throw new HttpError(400, 'invalid_body', 'the body did not arrive whole')
  }
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new HttpError(400, 'invalid_body', 'the body is not UTF-8')
  }
}

function parsed(text: string): unknown {
  if (levelsOf(text) > MAX_LEVELS) {
    throw new HttpError(400, 'invalid_body', `the body has more than ${MAX_LEVELS} levels`)
  }
  try {
    return JSON.parse(text)
  } catch {
    // The parser's own message would repeat a part of the body.
    throw new HttpError(400, 'invalid_body', 'the body is not JSON')
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
// `[` and `{` differ only in this bit, and so do `]` and `}`.
const BIT = 0x20
const OPENING = 0x5b
const CLOSING = 0x5d

/** How deep arrays and objects are nested. Code that walks through values recurses once a level. */
function levelsOf(text: string): number {
  let levels = 0
  let deepest = 0
  let isInText = false
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (isInText) {
      if (unit === BACKSLASH) at++
      else if (unit === QUOTE) isInText = false
    } else if (unit === QUOTE) isInText = true
    else if ((unit & ~BIT) === OPENING) deepest = Math.max(deepest, ++levels)
    else if ((unit & ~BIT) === CLOSING) levels--
  }
  return deepest
}
