// The public types of mlx-serving/server: an HTTP server with the APIs of OpenAI, Anthropic and Ollama over an engine.
// lib/server/ implements them; docs/server.md is the guide.

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Engine, EngineOptions, GenerateOptions, LoadModelOptions } from './index.js'

/** Answers a web request. It never rejects: errors are responses. */
export type Handler = (request: Request) => Promise<Response>

/** Options of {@link createHandler}. Every field is optional. */
export interface HandlerOptions {
  /**
   * API keys. A request needs one of them, as `authorization: Bearer …` or `x-api-key`. A key has a tenant of its own, so
   * that keys get equal shares of a busy device and never share cached answers. Keys are compared in constant time.
   *
   * @default none: requests need no key
   */
  keys?: readonly (string | ServerKey)[] | undefined
  /**
   * The host names that the `host` header may have, without port. This stops pages that reach a local server under a name of
   * their own (DNS rebinding). `['*']`: any.
   *
   * @default any with `keys`; without: localhost, 127.0.0.1, [::1], and the option `host` of {@link serve}
   */
  hosts?: readonly string[] | undefined
  /**
   * The web pages that may use the server, by their origin, such as `'http://localhost:5173'`. Requests of other pages get
   * 403. `['*']`: any.
   *
   * @default none
   */
  origins?: readonly string[] | undefined
  /**
   * Other names for loaded models, by name, for clients with a fixed name: `{ 'gpt-4o': 'qwen3' }`. The name `'*'` stands for
   * every unknown name.
   *
   * @default none: unknown names get 404
   */
  aliases?: Readonly<Record<string, string>> | undefined
  /** The largest body of a request, in bytes. Larger ones get 413. From 1 to 1073741824. @default 33554432 */
  maxBodyBytes?: number | undefined
  /**
   * The most tokens of an answer, also of a request that asks for more. From 1 to 9007199254740991.
   *
   * @default what the prompt leaves of the context; half of the context at most for a request that sets no limit
   */
  maxTokens?: number | undefined
  /** The deadline of an answer, in milliseconds. Later it ends with status 504. @default none */
  timeoutMs?: number | undefined
  /**
   * How long a stream may be silent before it sends a comment, so that proxies do not close the connection. In milliseconds,
   * from 1 to 2147483647.
   *
   * @default 15000
   */
  heartbeatMs?: number | undefined
  /** How many answers `/v1/responses` keeps for `previous_response_id`. The oldest is forgotten first. */
  responses?: ResponseStoreOptions | undefined
  /**
   * Called with each error whose message clients do not see, because it may name files: internal errors, and errors of a load or
   * of a download.
   *
   * @default console.error
   */
  onError?: ((error: unknown) => void) | undefined
}

/** An API key. */
export interface ServerKey {
  key: string
  /** As {@link GenerateOptions.tenant}. @default a name that is made from the position of the key */
  tenant?: string | undefined
  /** As {@link GenerateOptions.priority}. @default 'default' */
  priority?: GenerateOptions['priority']
}

/** Bounds of the answers that are kept in memory. */
export interface ResponseStoreOptions {
  /** From 0 to 1000000. @default 1000 */
  maxEntries?: number | undefined
  /** The bytes of their JSON. From 0 to 9007199254740991. @default 67108864 */
  maxBytes?: number | undefined
}

/**
 * Makes a handler for the routes of OpenAI (`/v1/chat/completions`, `/v1/completions`, `/v1/responses`, `/v1/models`),
 * Anthropic (`/v1/messages`) and Ollama (`/api/chat`, `/api/generate`), and `/health`, `/ready` and `/metrics`. It needs no
 * framework: mount it in a server that has web requests, or pass it to {@link toNodeListener}.
 *
 * The answer to a request ends when its signal aborts, and when the body of its response is cancelled.
 *
 * @throws {@link ConfigError} an option is unknown or out of range
 *
 * @example
 * const handler = createHandler(engine, { keys: [process.env.API_KEY!] })
 * createServer(toNodeListener(handler)).listen(8080, '127.0.0.1')
 */
export declare function createHandler(engine: Engine, options?: HandlerOptions): Handler

/** Options of {@link toNodeListener}. */
export interface NodeListenerOptions {
  /** How long a client may leave a response unread before its connection is closed. From 1 to 2147483647. @default 60000 */
  stallMs?: number | undefined
}

/**
 * Makes a listener for the `request` event of `node:http` from a handler. The body of a response is read only as fast as its
 * socket takes it. When a client leaves, the signal of its request aborts.
 */
export declare function toNodeListener(
  handler: Handler,
  options?: NodeListenerOptions,
): (request: IncomingMessage, response: ServerResponse) => void

/** Options of {@link serve}. Every field is optional. */
export interface ServeOptions extends HandlerOptions, NodeListenerOptions {
  /** The address to listen on. Beyond loopback, `keys` or `allowAnonymous` are needed. @default '127.0.0.1' */
  host?: string | undefined
  /** The port; 0 takes a free one. @default 8080 */
  port?: number | undefined
  /**
   * The models to load, one after another, each as `engine.loadModel` takes it. Requests that name no model use the first one.
   *
   * @default the demo model
   */
  models?: readonly (string | LoadModelOptions)[] | undefined
  /** The options of the engine. @default {} */
  engine?: EngineOptions | undefined
  /** Whether everybody who reaches a `host` beyond loopback may use it without a key. @default false */
  allowAnonymous?: boolean | undefined
  /**
   * The signals of the process that close the server. The process then ends by itself.
   *
   * @default ['SIGTERM', 'SIGINT']
   */
  signals?: readonly NodeJS.Signals[] | undefined
  /** Milliseconds that running answers have to end when the server closes. @default 25000 */
  drainMs?: number | undefined
  /** How long the headers of a request may take, in milliseconds. From 1 to 2147483647. @default 10000 */
  headersTimeoutMs?: number | undefined
  /** How long a whole request may take to arrive, in milliseconds. From 1 to 2147483647. @default 60000 */
  requestTimeoutMs?: number | undefined
  /** How long a connection may be idle between requests, in milliseconds. From 1 to 2147483647. @default 65000 */
  keepAliveMs?: number | undefined
  /** The largest headers, in bytes. From 1024 to 1048576. @default 16384 */
  maxHeaderBytes?: number | undefined
  /** The most connections. From 1 to 1000000. @default 1024 */
  maxConnections?: number | undefined
}

/** A server that listens. */
export interface RunningServer extends AsyncDisposable {
  /** Where it listens, such as `'http://127.0.0.1:8080'`. Clients of OpenAI add `/v1`. */
  readonly url: string
  readonly engine: Engine
  readonly http: Server
  /** Fulfilled when the server has closed, by {@link RunningServer.close} or a signal. */
  readonly closed: Promise<void>
  /**
   * Closes the server: it takes no more connections, `/ready` answers 503, requests that have arrived get their answers, and
   * the engine is shut down. What runs longer than `drainMs` is cut off.
   */
  close(options?: { drainMs?: number | undefined }): Promise<void>
}

/**
 * Starts an engine and an HTTP server, and loads the models. It listens before the models are loaded: until then `/ready` and
 * requests get 503.
 *
 * @throws {@link ConfigError} an option is unknown or out of range
 * @throws the errors of `createEngine` and `loadModel`, and those of listening, such as `EADDRINUSE`
 *
 * @example
 * const { url } = await serve({ models: ['mlx-community/Qwen3-4B-4bit'], port: 8080 })
 */
export declare function serve(options?: ServeOptions): Promise<RunningServer>

/** A server-sent event. */
export interface SseEvent {
  /** A text, or a value that is written as JSON. */
  data: unknown
  /** The type of the event, for `addEventListener`. */
  event?: string | undefined
  id?: string | undefined
}

/** Options of {@link sseStream} and {@link writeSse}. */
export interface SseOptions {
  /** How long the stream may be silent before a comment is sent, in milliseconds. From 1 to 2147483647. @default 15000 */
  heartbeatMs?: number | undefined
  /**
   * Called once when the client leaves before the end, to end the work: `() => generation.cancel()`, or the `abort` of a
   * controller. The source is left as well, as by `break`.
   */
  onCancel?: (() => void) | undefined
  /** The last event of a source that fails. Without it the stream fails, which closes the connection. */
  onError?: ((error: unknown) => SseEvent) | undefined
}

/** The headers of a response with server-sent events. They keep compression and proxies from holding events back. */
export declare const SSE_HEADERS: Readonly<Record<string, string>>

/**
 * Server-sent events as the body of a web `Response`. One part is made for each read, so a slow client holds the source back.
 * Events that are ready together are sent together, up to 64 KiB; the first one is never held back.
 *
 * @example
 * async function* events() {
 *   for await (const { text } of generation) yield { data: { text } }
 *   yield { data: '[DONE]' }
 * }
 * return new Response(sseStream(events(), { onCancel: () => generation.cancel() }), { headers: SSE_HEADERS })
 */
export declare function sseStream(source: AsyncIterable<SseEvent>, options?: SseOptions): ReadableStream<Uint8Array>

/**
 * Writes server-sent events to a response of `node:http`, with status 200 and {@link SSE_HEADERS} if its headers were not sent.
 * Waits for `drain`. Ends the response. Resolves when all was written, or the client has left.
 */
export declare function writeSse(
  response: ServerResponse,
  source: AsyncIterable<SseEvent>,
  options?: SseOptions & NodeListenerOptions,
): Promise<void>
