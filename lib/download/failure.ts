// Failures of downloads. A failure is transient if the same request may succeed later.

import { errorOf, type MlxServingError } from '../errors'

const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504])

/** A failure that a further try may mend. */
export class Transient extends Error {
  /** Milliseconds that the hub asks to wait. */
  readonly waitMs: number | undefined

  constructor(message: string, waitMs?: number, cause?: unknown) {
    super(message, { cause })
    this.waitMs = waitMs
  }
}

export function downloadError(message: string, cause?: unknown): MlxServingError {
  return errorOf('DownloadError', message, { cause })
}

/** The failure of an answer with another status than expected. */
export function failureOf(response: Response, what: string, hasToken: boolean): Error {
  const { status } = response
  if (TRANSIENT.has(status)) return new Transient(`${what}: the hub answered ${status}`, retryAfterMs(response))
  if (status === 401 || status === 403) {
    const remedy = hasToken
      ? 'the token may not read it: accept its terms on its page, or use another token'
      : 'it is private, its terms must be accepted, or there is none of that name. Check the name, or set `HF_TOKEN`'
    return downloadError(`${what}: the hub answered ${status}: ${remedy}`)
  }
  if (status === 404) return downloadError(`${what}: the hub answered 404: there is no such model, revision or file`)
  return downloadError(`${what}: the hub answered ${status}`)
}

function retryAfterMs(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return seconds >= 0 ? seconds * 1000 : undefined
}
