// Servers for the tests of mlx-serving/server: a handler behind node:http on a free port, closed at the end of the test.

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Engine, ScriptedAnswers } from 'mlx-serving'
import { createHandler, type HandlerOptions, toNodeListener } from 'mlx-serving/server'
import { onTestFinished } from 'vitest'
import { chattingAs, HERMES } from './scripted.js'
import type { Ready } from './support.js'

export interface Served extends Ready {
  url: string
}

/** An object with a whole number. */
export const SUM_SCHEMA = {
  type: 'object',
  properties: { sum: { type: 'integer' } },
  required: ['sum'],
  additionalProperties: false,
}

/** A scripted answer with everything that an API has a place for. */
export const TWO_CALLS = {
  reasoning: 'Let me see',
  text: 'I add.',
  toolCalls: [
    { name: 'add', arguments: { a: 1 } },
    { name: 'add', arguments: { a: 2 } },
  ],
}

/** Serves an engine. */
export async function served({ engine, model }: Ready, options?: HandlerOptions): Promise<Served> {
  return { engine, model, url: await listening(engine, options) }
}

/** Serves scripted answers of a model with tools and reasoning. */
export const servedAs = async (answers: ScriptedAnswers, options?: HandlerOptions): Promise<Served> =>
  served(await chattingAs(HERMES, answers), options)

async function listening(engine: Engine, options?: HandlerOptions): Promise<string> {
  const server = createServer(toNodeListener(createHandler(engine, { onError: () => {}, ...options })))
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Sends JSON, or a text as it is. */
export function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return fetch(url, { method: 'POST', body: text, headers: { 'content-type': 'application/json', ...headers } })
}

/** The text of a response. Calls `onPart` after each part that arrives. */
export async function streamedText(response: Response, onPart: () => void): Promise<string> {
  const reader = response.body!.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return text
    text += decoder.decode(value, { stream: true })
    onPart()
  }
}

/** An error of the APIs of OpenAI. */
export interface Refusal {
  error: { message: string; type: string; code: string; param: string | null }
}

/** The status and the error of a response. */
export async function refusalOf(response: Response): Promise<Refusal['error'] & { status: number }> {
  const { error } = (await response.json()) as Refusal
  return { status: response.status, ...error }
}
