// Requests to the hub: redirects, the token, the time limit, further tries. It does not know what is asked for.

import { reasonOf, watch } from '../signals'
import { clearTimeout, setTimeout } from '../timers'
import type { Access } from './access'
import { downloadError, failureOf, Transient } from './failure'

const MAX_REDIRECTS = 5
/** Tries in a row without a new byte. */
const MAX_TRIES = 5
const FIRST_WAIT_MS = 500
const MAX_WAIT_MS = 30_000

/** What every request of one download has in common. */
export interface Client {
  readonly access: Access
  readonly signal: AbortSignal
}

/** A request that ends when no byte arrives for the time limit. */
export class Attempt {
  readonly #client: Client
  readonly #stalled = new AbortController()
  #timer: NodeJS.Timeout | undefined

  constructor(client: Client) {
    this.#client = client
  }

  /** Sends a GET request and follows redirects. `expected` are the statuses that are no failure. */
  async get(url: URL, what: string, headers: Record<string, string>, expected: readonly number[]): Promise<Response> {
    let target = url
    for (let i = 0; i <= MAX_REDIRECTS; i++) {
      const response = await this.#send(target, what, headers)
      if (expected.includes(response.status)) return response
      await response.body?.cancel().catch(() => {})
      const location = response.headers.get('location')
      const isRedirect = response.status >= 300 && response.status < 400 && location !== null
      if (!isRedirect) throw failureOf(response, what, this.#client.access.token !== undefined)
      target = redirected(target, location, what)
    }
    throw downloadError(`${what}: the hub redirected more than ${MAX_REDIRECTS} times`)
  }

  /** A byte arrived: the time limit starts again. */
  progressed(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#stalled.abort(), this.#client.access.timeoutMs)
  }

  end(): void {
    clearTimeout(this.#timer)
  }

  /** The failure that an error of `fetch` or of the body means. */
  failure(what: string, error: unknown): unknown {
    const { access, signal } = this.#client
    if (signal.aborted) return reasonOf(signal)
    if (this.#stalled.signal.aborted) {
      return new Transient(`${what}: the hub sent nothing for ${access.timeoutMs / 1000} s`)
    }
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    const reason = cause instanceof Error ? cause.message : String(cause)
    return new Transient(`${what}: the connection failed: ${reason}`, undefined, error)
  }

  async #send(url: URL, what: string, headers: Record<string, string>): Promise<Response> {
    const { access, signal } = this.#client
    const isHub = url.origin === new URL(access.endpoint).origin
    const authorization = isHub && access.token !== undefined ? { authorization: `Bearer ${access.token}` } : {}
    this.progressed()
    try {
      return await fetch(url, {
        redirect: 'manual',
        signal: AbortSignal.any([signal, this.#stalled.signal]),
        headers: { 'accept-encoding': 'identity', 'user-agent': 'mlx-serving', ...headers, ...authorization },
      })
    } catch (error) {
      throw this.failure(what, error)
    }
  }
}

function redirected(from: URL, location: string, what: string): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from.href) : undefined
  const isSafe =
    to !== undefined && (to.protocol === 'https:' || (to.protocol === 'http:' && from.protocol === 'http:'))
  if (!isSafe) throw downloadError(`${what}: the hub redirected to an address that is not allowed`)
  return to
}

/** Runs `attempt` until it succeeds, fails for good, or has made no progress too often. */
export async function retrying<T>(
  { signal }: Client,
  attempt: () => Promise<T>,
  numReceived: () => number = () => 0,
): Promise<T> {
  for (let numTries = 1, before = numReceived(); ; numTries++) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof Transient)) throw error
      const received = numReceived()
      if (received > before) numTries = 0
      before = received
      if (numTries >= MAX_TRIES) throw downloadError(`${error.message}, ${MAX_TRIES} times in a row`, error)
      await pause(waitMs(error, numTries), signal)
    }
  }
}

/** The time before the next try: as the hub asks, or a random one from half to all of a time that doubles with every try. */
function waitMs({ waitMs }: Transient, numTries: number): number {
  const longest = FIRST_WAIT_MS * 2 ** Math.max(0, numTries - 1)
  return Math.min(waitMs ?? longest * (0.5 + Math.random() / 2), MAX_WAIT_MS)
}

/** Waits. Rejects with the signal's reason as soon as it aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(reasonOf(signal))
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      clearTimeout(timer)
      unwatch()
      settle()
    }
    const timer = setTimeout(() => end(resolve), ms)
    const unwatch = watch(signal, () => end(() => reject(reasonOf(signal))))
  })
}

/** The JSON value at an address. */
export function getJson(client: Client, url: URL, what: string): Promise<unknown> {
  return retrying(client, async () => {
    const attempt = new Attempt(client)
    try {
      const response = await attempt.get(url, what, { accept: 'application/json' }, [200])
      const text = await response.text().catch(error => {
        throw attempt.failure(what, error)
      })
      return parse(text, what)
    } finally {
      attempt.end()
    }
  })
}

function parse(text: string, what: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw downloadError(`${what}: the hub's answer is not JSON`, cause)
  }
}
