// What the servers beside this file share: an engine, its answers as web responses, a status for each error, and the end at
// SIGTERM. docs/http.md gives the reasons. Copy this file and one of http.mjs, fastify.mjs, hono.mjs and express.mjs.
//
// Variables: HOST, PORT, MODEL (a model folder), MAX_PENDING, SIMULATED (a simulated device instead of MLX).

import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createEngine, MlxServingError } from 'mlx-serving'
import { SSE_HEADERS, sseStream } from 'mlx-serving/server'

const { HOST = '127.0.0.1', PORT = 3000, MODEL, MAX_PENDING = 64, SIMULATED } = process.env
export const address = { host: HOST, port: Number(PORT) }

const engine = await createEngine({
  backend: SIMULATED ? { simulated: SIMULATED } : 'mlx',
  // Requests beyond these limits are refused at once, with a time to come again.
  scheduler: { maxPending: Number(MAX_PENDING), maxWaitMs: 10_000 },
})
const model = await engine.loadModel(MODEL)

/** The status of each error code. */
export const STATUS = {
  InvalidParams: 400,
  ContextLengthExceeded: 400,
  GuidanceError: 400,
  ModelNotFound: 404,
  ModelNotLoaded: 404,
  SlowConsumer: 408,
  Overloaded: 429,
  Cancelled: 499,
  ConfigError: 500,
  ModelLoadError: 500,
  UnsupportedModel: 500,
  TokenizerError: 500,
  BackendError: 500,
  CircuitOpen: 503,
  UnsupportedPlatform: 500,
  DownloadError: 502,
  InsufficientMemory: 503,
  EngineClosed: 503,
  Timeout: 504,
}

const noMessages = () =>
  Response.json(
    { error: { code: 'InvalidParams', message: 'the body must be JSON with `messages`', param: 'messages' } },
    { status: 400 },
  )

/**
 * The response to the JSON body of a request. `signal` aborts when the client leaves, which ends the work. Only fields that a
 * client may choose are passed on.
 */
export async function answer(body, signal) {
  try {
    const { messages, maxTokens, temperature, stream } = body ?? {}
    if (messages === undefined) return noMessages()
    const generation = engine.generate({ model, messages, maxTokens, temperature }, { signal, timeoutMs: 120_000 })
    if (stream) return new Response(await eventsOf(generation), { headers: SSE_HEADERS })
    const { text, finishReason, usage } = await generation
    return Response.json({ text, finishReason, usage })
  } catch (error) {
    return refusal(error)
  }
}

/** An answer as server-sent events. Waits for the first chunk, because an error before it still gets its status. */
async function eventsOf(generation) {
  const chunks = generation[Symbol.asyncIterator]()
  const first = await chunks.next()
  async function* events() {
    if (!first.done) yield { data: { text: first.value.text } }
    for await (const { text } of chunks) yield { data: { text } }
    const { finishReason, usage } = await generation
    yield { data: { finishReason, usage } }
  }
  const onError = error => ({ data: problemOf(error).body })
  return sseStream(events(), { onCancel: () => generation.cancel(), onError })
}

/** The response for an error. */
export function refusal(error) {
  const { status, body } = problemOf(error)
  const { retryAfterMs } = error
  const retry = { 'retry-after': String(Math.ceil(retryAfterMs / 1000)), 'retry-after-ms': String(retryAfterMs) }
  return Response.json(body, { status, headers: retryAfterMs === undefined ? {} : retry })
}

/** What a client may know of an error. Failures of the server itself may name files: they go to its log. */
function problemOf(error) {
  const isAbort = error.name === 'AbortError'
  const code = error instanceof MlxServingError ? error.code : isAbort ? 'Cancelled' : 'InternalError'
  const status = STATUS[code] ?? 500
  if (status === 500) console.error(error)
  const { message, param } = status === 500 ? { message: 'the server cannot answer this request' } : error
  return { status, body: { error: { code, message, param } } }
}

/** The state of the engine, for probes: 503 with the reasons while it cannot serve, and once it shuts down. */
export function health() {
  const { status, reasons } = engine.health()
  const { running, queued, completed, cancelled, parks } = engine.stats()
  const body = { status, reasons, running, queued, completed, cancelled, parks }
  return Response.json(body, { status: status === 'ready' ? 200 : 503 })
}

/** A signal that aborts when the client of a Node.js response leaves. */
export function leaving(response) {
  const left = new AbortController()
  response.once('close', () => left.abort())
  return left.signal
}

/** Sends a web response as a Node.js response. Waits for a slow client; a client that leaves cancels the body. */
export async function send({ status, headers, body }, response) {
  response.writeHead(status, Object.fromEntries(headers))
  // The only error is a client that has left.
  await pipeline(Readable.fromWeb(body), response).catch(() => {})
}

/**
 * Prepares a server for its end. The returned function ends it: no new connections, running answers may end, and each
 * connection is closed after its answer. Clients keep connections for their next request, which would keep the process.
 */
export function ending(server) {
  // Longer than load balancers keep idle connections (60 s), so that they do not send requests on a closed one.
  server.keepAliveTimeout = 65_000
  let isEnding = false
  server.prependListener('request', ({ socket }, response) => {
    response.once('finish', () => isEnding && socket.destroySoon())
  })
  return async () => {
    isEnding = true
    // For clients that do not read the end of their answer. Kubernetes kills the process after 30 s.
    setTimeout(() => server.closeAllConnections(), 28_000).unref()
    // Takes no more connections, and closes those that are idle.
    server.close()
    await engine.shutdown({ drainMs: 25_000 })
  }
}
