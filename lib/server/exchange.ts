// One request on its way to a response: what the routes need of it, and what they do alike.

import { randomUUID } from 'node:crypto'
import type { Engine, GenerateOptions, ModelHandle } from '../../index'
import { leftOf, loadingInTime, settled } from '../signals'
import type { Fields } from './fields'
import type { Incoming } from './incoming'
import { HttpError } from './problem'
import type { ResponseStore } from './responsestore'
import type { Key, Settings } from './settings'

/** A name in a header is cut to this many characters, and so many names are shown. */
const MAX_NAME = 64
const MAX_NAMES = 16

/** What all requests to a handler share. */
export interface Site {
  readonly engine: Engine
  readonly settings: Settings
  readonly responses: ResponseStore
  /** `'ready'`, or why requests are refused. */
  readonly phase: () => Phase
  /** The id of the model that is used when a request names none. */
  readonly defaultModel: () => string | undefined
}

export type Phase = 'loading' | 'ready' | 'draining'

export class Exchange {
  readonly site: Site
  readonly request: Incoming
  readonly url: URL
  /** The name of the request, in the header `x-request-id`. */
  readonly id = `req_${randomUUID().replaceAll('-', '')}`
  key: Key | undefined
  /** Ends the work: the client has left. */
  readonly left = new AbortController()
  readonly #warnings = new Set<string>()
  #loadMs = 0

  constructor(site: Site, request: Incoming) {
    this.site = site
    this.request = request
    this.url = new URL(request.url)
    const { signal } = request
    if (signal.aborted) this.left.abort()
    else signal.addEventListener('abort', () => this.left.abort(), { once: true })
  }

  /** A sentence for the warning header. */
  warn(text: string): void {
    this.#warnings.add(text)
  }

  /** Lists the fields that were not read. */
  warnOfUnread(fields: Fields): void {
    const names = fields.unread().map(name => name.replace(/[^\w.-]/g, '?').slice(0, MAX_NAME))
    if (names.length > 0) this.warn(`ignored fields: ${names.slice(0, MAX_NAMES).join(', ')}`)
  }

  get warnings(): string {
    return [...this.#warnings].join('; ')
  }

  /** The id of the model that a request means, and the name that it used. The model may not be loaded. */
  model(name: string | undefined): { model: string; name: string } {
    const { engine, settings, defaultModel, phase } = this.site
    if (phase() === 'loading') {
      throw new HttpError(503, 'loading', 'the models are being loaded', { headers: { 'retry-after': '1' } })
    }
    const usual = name ?? defaultModel()
    // The list of all models costs more than a short request.
    if (usual !== undefined && engine.getModelInfo(usual)?.id === usual) return { model: usual, name: usual }
    const ids = knownModels(engine)
    const wanted = usual ?? ids[0]
    const { aliases } = settings
    const id = [wanted, aliases.get(wanted ?? ''), aliases.get('*')].find(one => one !== undefined && ids.includes(one))
    if (id !== undefined) return { model: id, name: name ?? id }
    // An engine that was shut down knows no models, and this says so.
    engine.listModels()
    return unknownModel('no model has this name; see /v1/models')
  }

  /** A model of which more than its id is known: it is loaded if it never was. */
  async loaded(id: string): Promise<ModelHandle> {
    return this.site.engine.getModelInfo(id) ?? (await this.load(id))
  }

  /** Loads a model if it is not loaded. The time that it takes counts for the deadline of the request. */
  async load(id: string): Promise<ModelHandle> {
    const { engine } = this.site
    const began = performance.now()
    // `loadModel` would look for a folder of this name first.
    const loading = engine.tokenize({ model: id, text: '' })
    await loadingInTime(this.left.signal, this.#msLeft, async signal => {
      await settled(loading, signal)
      await loading
    })
    this.#loadMs += performance.now() - began
    return engine.getModelInfo(id) ?? unknownModel('the model was unloaded')
  }

  /** How the engine runs the request. Tenants share no answers. */
  get runOptions(): GenerateOptions {
    const { key } = this
    return {
      signal: this.left.signal,
      timeoutMs: this.#msLeft,
      ...(key && { tenant: key.tenant, priority: key.priority }),
    }
  }

  /** The time until the deadline of the request; `undefined` if it has none. */
  get #msLeft(): number | undefined {
    return leftOf(this.site.settings.timeoutMs, this.#loadMs)
  }
}

function unknownModel(message: string): never {
  throw new HttpError(404, 'model_not_found', message, { param: 'model' })
}

/** The ids of the models that requests may use, also of those that are not loaded now. */
export const knownModels = (engine: Engine): string[] => engine.stats().lifecycle.models.map(({ model }) => model)

/** A unique id with the prefix that the API uses. */
export const newId = (prefix: string): string => `${prefix}${randomUUID().replaceAll('-', '')}`

/** The time as the APIs write it, in seconds. */
export const nowSeconds = (): number => Math.floor(Date.now() / 1000)

/** A response with JSON. Its length is known, so it is not sent in chunks. */
export function json(body: object, init: { status?: number; headers?: Record<string, string> } = {}): Response {
  const bytes = Buffer.from(JSON.stringify(body))
  const own = { 'content-type': 'application/json', 'content-length': String(bytes.length) }
  return new Response(bytes, { status: init.status ?? 200, headers: { ...init.headers, ...own } })
}
