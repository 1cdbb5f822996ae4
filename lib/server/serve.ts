// A whole server: an engine, its models, and a listener of node:http with limits, which ends without dropping requests.

import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Engine } from '../../index'
import type { RunningServer, ServeOptions } from '../../server'
import { createEngine } from '../engine'
import { clearTimeout, setTimeout } from '../timers'
import type { Phase } from './exchange'
import { handlerOf } from './handler'
import { toNodeListener } from './node'
import { readServeOptions, type ServeSettings } from './serveoptions'
import { bounded, known, MAX_MS } from './settings'

/** How often slow requests are looked for, in milliseconds. */
const CHECK_MS = 1000
/** How long clients may take to read the last event after the engine was shut down. */
const LAST_WORDS_MS = 2000

export async function serve(options?: ServeOptions): Promise<RunningServer> {
  const settings = readServeOptions(options)
  const server = new HttpServer(await createEngine(settings.engine), settings)
  try {
    await server.listen()
    await server.load()
    return server
  } catch (error) {
    await server.close({ drainMs: 0 })
    throw error
  }
}

class HttpServer implements RunningServer {
  readonly engine: Engine
  readonly http: Server
  readonly closed: Promise<void>
  url = ''
  readonly #settings: ServeSettings
  readonly #onSignal = () => void this.close()
  /** Responses that have not ended. */
  readonly #open = new Set<ServerResponse>()
  #phase: Phase = 'loading'
  #defaultModel: string | undefined
  #isClosing = false
  #settle: (outcome: Promise<void>) => void = () => {}

  constructor(engine: Engine, settings: ServeSettings) {
    this.engine = engine
    this.#settings = settings
    this.closed = new Promise(resolve => {
      this.#settle = resolve
    })
    this.http = this.#server()
    for (const signal of settings.signals) process.on(signal, this.#onSignal)
  }

  async listen(): Promise<void> {
    const { host, port } = this.#settings
    this.http.listen(port, host)
    await once(this.http, 'listening')
    const { address, family, port: taken } = this.http.address() as AddressInfo
    this.url = `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`
  }

  async load(): Promise<void> {
    for (const model of this.#settings.models) {
      const { id } = await this.engine.loadModel(model)
      this.#defaultModel ??= id
    }
    if (!this.#isClosing) this.#phase = 'ready'
  }

  close(options?: { drainMs?: number | undefined }): Promise<void> {
    const given = known(options, 'options', ['drainMs']).drainMs
    const drainMs = bounded(given, 'drainMs', [0, MAX_MS]) ?? this.#settings.drainMs
    if (!this.#isClosing) {
      this.#isClosing = true
      this.#settle(this.#close(drainMs))
    }
    return this.closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #server(): Server {
    const { keepAliveMs, headersTimeoutMs, requestTimeoutMs, maxHeaderBytes, maxConnections, stallMs } = this.#settings
    const server = createServer({
      keepAliveTimeout: keepAliveMs,
      // Node.js wants it within the time of the whole request.
      headersTimeout: Math.min(headersTimeoutMs, requestTimeoutMs),
      requestTimeout: requestTimeoutMs,
      maxHeaderSize: maxHeaderBytes,
      connectionsCheckingInterval: CHECK_MS,
    })
    server.maxConnections = maxConnections
    server.on('request', ({ socket }, response) => {
      if (this.#isClosing) response.shouldKeepAlive = false
      this.#open.add(response)
      response.once('close', () => this.#open.delete(response))
      // Its header may have promised to keep the connection.
      response.once('finish', () => this.#isClosing && socket.destroySoon())
    })
    const { settings } = this.#settings
    const site = { engine: this.engine, settings, phase: () => this.#phase, defaultModel: () => this.#defaultModel }
    return server.on('request', toNodeListener(handlerOf(site), { stallMs }))
  }

  async #close(drainMs: number): Promise<void> {
    for (const signal of this.#settings.signals) process.off(signal, this.#onSignal)
    this.#phase = 'draining'
    // Connections that clients keep for their next request would keep the process running.
    for (const response of this.#open) response.shouldKeepAlive = false
    const closed = this.http.listening ? once(this.http, 'close') : Promise.resolve()
    // Takes no more connections, and closes those that are idle. Requests that have arrived still reach the engine.
    this.http.close()
    const hasEnded = await within(closed, drainMs)
    await this.engine.shutdown({ drainMs: 0 })
    if (hasEnded) return
    await within(closed, LAST_WORDS_MS)
    this.http.closeAllConnections()
    await closed
  }
}

/** Whether a promise is fulfilled within this time. */
async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const passed = new Promise<boolean>(resolve => {
    timer = setTimeout(() => resolve(false), ms)
  })
  const isFirst = await Promise.race([promise.then(() => true), passed])
  clearTimeout(timer)
  return isFirst
}
