// Routes requests, and makes a response of everything that can happen to one. The routes themselves are in files of their own.

import type { Engine } from '../../index'
import type { Handler, HandlerOptions } from '../../server'
import { Access } from './access'
import { chatCompletions } from './chat'
import { completions } from './completions'
import { embeddings } from './embeddings'
import { Exchange, json, type Site } from './exchange'
import { directHandlers, type Incoming } from './incoming'
import { countTokens, messages } from './messages'
import { listModels, showModel } from './models'
import { ollamaChat, ollamaGenerate, ollamaRunning, ollamaShow, ollamaTags, ollamaVersion } from './ollama'
import { anthropicProblem, HttpError, ollamaProblem, openAiProblem, type ProblemBody, problemOf } from './problem'
import { deleteResponse, responses, showResponse } from './responses'
import { ResponseStore } from './responsestore'
import { readSettings } from './settings'
import { health, index, metrics, ready } from './state'

type Answer = (exchange: Exchange, rest: string) => Promise<Response> | Response

interface Route {
  readonly methods: Readonly<Record<string, Answer>>
  /** Probes have no key. */
  readonly isOpen?: boolean
}

const ROUTES: Readonly<Record<string, Route>> = {
  '/': { methods: { GET: index }, isOpen: true },
  '/health': { methods: { GET: health }, isOpen: true },
  '/ready': { methods: { GET: ready }, isOpen: true },
  '/metrics': { methods: { GET: metrics } },
  '/api/version': { methods: { GET: ollamaVersion }, isOpen: true },
  '/api/tags': { methods: { GET: ollamaTags } },
  '/api/ps': { methods: { GET: ollamaRunning } },
  '/api/show': { methods: { POST: ollamaShow } },
  '/api/chat': { methods: { POST: ollamaChat } },
  '/api/generate': { methods: { POST: ollamaGenerate } },
  '/v1/models': { methods: { GET: listModels } },
  '/v1/models/*': { methods: { GET: showModel } },
  '/v1/chat/completions': { methods: { POST: chatCompletions } },
  '/v1/completions': { methods: { POST: completions } },
  '/v1/responses': { methods: { POST: responses } },
  '/v1/responses/*': { methods: { GET: showResponse, DELETE: deleteResponse } },
  '/v1/messages': { methods: { POST: messages } },
  '/v1/messages/count_tokens': { methods: { POST: countTokens } },
  '/v1/embeddings': { methods: { POST: embeddings } },
}

export function createHandler(engine: Engine, options?: HandlerOptions): Handler {
  const settings = readSettings(options)
  return handlerOf({ engine, settings, phase: () => 'ready', defaultModel: () => undefined })
}

/** A handler of a site, whose state may change. */
export function handlerOf(given: Omit<Site, 'responses'>): Handler {
  const site = { ...given, responses: new ResponseStore(given.settings.responses) }
  const access = new Access(site.settings)
  const direct = async (request: Incoming): Promise<Response> => {
    const exchange = new Exchange(site, request)
    const response = await answer(exchange, access)
    const { headers } = response
    headers.set('x-request-id', exchange.id)
    headers.set('x-content-type-options', 'nosniff')
    if (exchange.warnings !== '') headers.set('x-mlx-serving-warning', exchange.warnings)
    access.expose(request, headers)
    return response
  }
  const handler: Handler = request => direct(request)
  directHandlers.set(handler, direct)
  return handler
}

async function answer(exchange: Exchange, access: Access): Promise<Response> {
  const { request, url } = exchange
  try {
    access.checkSource(request)
    if (request.method === 'OPTIONS') return access.preflight(request)
    const { route, rest } = routeOf(url.pathname)
    if (!route?.isOpen) exchange.key = access.keyOf(request)
    if (route === undefined) throw new HttpError(404, 'not_found', 'there is no such route')
    // HEAD runs the route of GET. The listener of node:http does not send the body.
    const answerTo = route.methods[request.method === 'HEAD' ? 'GET' : request.method]
    if (answerTo === undefined) throw wrongMethod(route)
    return await answerTo(exchange, rest)
  } catch (error) {
    return refusal(exchange, error)
  }
}

/** The route of a path, and the rest of the path below it. The query plays no part. */
function routeOf(path: string): { route: Route | undefined; rest: string } {
  const plain = path.length > 1 ? path.replace(/\/$/, '') : path
  if (Object.hasOwn(ROUTES, plain)) return { route: ROUTES[plain], rest: '' }
  const parent = Object.keys(ROUTES).find(name => name.endsWith('/*') && plain.startsWith(name.slice(0, -1)))
  return parent === undefined
    ? { route: undefined, rest: '' }
    : { route: ROUTES[parent], rest: unescaped(plain.slice(parent.length - 1)) }
}

function unescaped(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw new HttpError(400, 'invalid_path', 'the path is not encoded correctly')
  }
}

function wrongMethod({ methods }: Route): HttpError {
  const allow = Object.keys(methods).join(', ')
  return new HttpError(405, 'method_not_allowed', `this route takes ${allow}`, { headers: { allow } })
}

function refusal({ url, id, site }: Exchange, error: unknown): Response {
  const problem = problemOf(error)
  const { status, headers } = problem
  if (problem.isInternal) site.settings.onError(error)
  return json(bodyFor(url.pathname)(problem, id), { status, headers })
}

/** How the API of a path writes errors. */
function bodyFor(path: string): ProblemBody {
  if (path.startsWith('/v1/messages')) return anthropicProblem
  return path.startsWith('/api/') ? ollamaProblem : openAiProblem
}
