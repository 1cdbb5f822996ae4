// /v1/responses of OpenAI: answers, streams, and answers that are kept for the next turn.

import type { GenerateResult, Message, Usage } from '../../index'
import type { SseEvent } from '../../server'
import { readBody } from './body'
import { type Exchange, json, newId, nowSeconds } from './exchange'
import { callsOf, type Piece } from './pieces'
import { HttpError, type Problem } from './problem'
import { type ResponseEvent, ResponseOutput } from './responseoutput'
import { type ResponseRequest, readResponseRequest } from './responserequest'
import { type EventWriter, streamed, wholeAnswer } from './running'

export async function responses(exchange: Exchange): Promise<Response> {
  const fields = await readBody(exchange.request, exchange.site.settings.maxBodyBytes)
  const request = readResponseRequest(exchange, fields)
  const draft = new Draft(exchange, request)
  if (!request.isStream) return json(draft.whole(await wholeAnswer(exchange, request.job)))
  return streamed(exchange, request.job, {
    writer: () => draft,
    failed: problem => draft.failed(problem),
  })
}

export function showResponse({ site, key }: Exchange, id: string): Response {
  const stored = site.responses.get(id, key?.tenant)
  if (stored === undefined) throw notFound()
  return json(stored.response)
}

export function deleteResponse({ site, key }: Exchange, id: string): Response {
  if (!site.responses.delete(id, key?.tenant)) throw notFound()
  return json({ id, object: 'response', deleted: true })
}

const notFound = () => new HttpError(404, 'not_found', 'this server has no response with this id')

/** A response while it comes to be. */
class Draft implements EventWriter {
  readonly #exchange: Exchange
  readonly #request: ResponseRequest
  readonly #id = newId('resp_')
  readonly #createdAt = nowSeconds()
  readonly #output = new ResponseOutput()
  #numEvents = 0

  constructor(exchange: Exchange, request: ResponseRequest) {
    this.#exchange = exchange
    this.#request = request
  }

  whole(result: GenerateResult): object {
    const { text, reasoning = '', logprobs, finishReason } = result
    const piece = { index: 0, text, reasoning, calls: callsOf(result), logprobs, finishReason }
    for (const _ of this.#output.add(piece));
    for (const _ of this.#output.end(statusOf(result)));
    return this.#finish(result)
  }

  *piece(piece: Piece): Generator<SseEvent> {
    yield* this.#begin()
    for (const event of this.#output.add(piece)) yield this.#numbered(event)
  }

  *end(result: GenerateResult): Generator<SseEvent> {
    yield* this.#begin()
    for (const event of this.#output.end(statusOf(result))) yield this.#numbered(event)
    const response = this.#finish(result)
    yield this.#numbered({ type: `response.${statusOf(result)}`, response })
  }

  *#begin(): Generator<SseEvent> {
    if (this.#numEvents > 0) return
    yield this.#numbered({ type: 'response.created', response: this.#response('in_progress') })
    yield this.#numbered({ type: 'response.in_progress', response: this.#response('in_progress') })
  }

  *failed({ code, message }: Problem): Generator<SseEvent> {
    yield* this.#begin()
    const error = { code: code === 'internal_error' ? 'server_error' : code, message }
    yield this.#numbered({ type: 'response.failed', response: this.#response('failed', { error }) })
  }

  /** The complete response, which is kept if the request allows it. */
  #finish(result: GenerateResult): object {
    const status = statusOf(result)
    const response = this.#response(status, {
      ...(status === 'completed' && { completed_at: nowSeconds() }),
      ...(status === 'incomplete' && { incomplete_details: { reason: 'max_output_tokens' } }),
      usage: usageOf(result.usage),
    })
    if (this.#request.isStored) {
      const { site, key } = this.#exchange
      const messages = [...this.#request.messages, messageOf(result)]
      site.responses.put(this.#id, key?.tenant, { response, messages })
    }
    return response
  }

  #response(status: string, more: object = {}): object {
    return {
      id: this.#id,
      object: 'response',
      created_at: this.#createdAt,
      status,
      background: false,
      error: null,
      incomplete_details: null,
      ...this.#request.repeated,
      output: [...this.#output.items],
      usage: null,
      ...more,
    }
  }

  #numbered(event: ResponseEvent): SseEvent {
    return { event: event.type, data: { ...event, sequence_number: this.#numEvents++ } }
  }
}

function statusOf({ finishReason }: GenerateResult): 'completed' | 'incomplete' {
  return finishReason === 'length' ? 'incomplete' : 'completed'
}

/** The answer as a message of the next turn. */
function messageOf({ text, reasoning, toolCalls }: GenerateResult): Message {
  return {
    role: 'assistant',
    ...((text !== '' || toolCalls === undefined) && { content: text }),
    ...(reasoning !== undefined && { reasoning }),
    ...(toolCalls && { toolCalls }),
  }
}

function usageOf({ inputTokens, cachedInputTokens, outputTokens, reasoningTokens, totalTokens }: Usage): object {
  return {
    input_tokens: inputTokens,
    input_tokens_details: { cached_tokens: cachedInputTokens, cache_write_tokens: 0 },
    output_tokens: outputTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: totalTokens,
  }
}
