// /v1/chat/completions of OpenAI.

import type { GenerateResult, TokenLogprob, TokenProbability, Usage } from '../../index'
import type { SseEvent } from '../../server'
import { readBody } from './body'
import { type ChatRequest, readChatRequest } from './chatrequest'
import { type Exchange, json, newId, nowSeconds } from './exchange'
import { type Call, callsOf, type Piece } from './pieces'
import { openAiProblem } from './problem'
import { type EventWriter, streamed, wholeAnswer } from './running'

export async function chatCompletions(exchange: Exchange): Promise<Response> {
  const fields = await readBody(exchange.request, exchange.site.settings.maxBodyBytes)
  const request = readChatRequest(exchange, fields)
  const head = { id: newId('chatcmpl-'), created: nowSeconds(), model: request.name }
  if (!request.isStream) return json(completion(head, await wholeAnswer(exchange, request.job)))
  return streamed(exchange, request.job, {
    writer: () => new ChatWriter(head, request),
    failed: problem => [{ data: openAiProblem(problem, exchange.id) }],
  })
}

interface Head {
  readonly id: string
  readonly created: number
  readonly model: string
}

function completion(head: Head, result: GenerateResult): object {
  const results = result.choices ?? [result]
  return {
    ...head,
    object: 'chat.completion',
    choices: results.map(choiceOf),
    usage: usageOf(results),
    ...(result.warnings && { warnings: result.warnings }),
  }
}

function choiceOf(result: GenerateResult, index: number): object {
  const { text, reasoning, logprobs, finishReason } = result
  const calls = callsOf(result)
  return {
    index,
    message: {
      role: 'assistant',
      content: text === '' && calls.length > 0 ? null : text,
      refusal: null,
      ...(reasoning !== undefined && { reasoning_content: reasoning }),
      ...(calls.length > 0 && { tool_calls: calls.map(toolCall) }),
    },
    logprobs: logprobs ? logprobsOf(logprobs) : null,
    finish_reason: reasonOf(finishReason),
  }
}

class ChatWriter implements EventWriter {
  readonly #head: object
  readonly #hasUsage: boolean
  /** The number of calls so far, by answer. An answer that has begun is in it. */
  readonly #numCalls = new Map<number, number>()

  constructor(head: Head, { hasUsage }: ChatRequest) {
    this.#head = { ...head, object: 'chat.completion.chunk' }
    this.#hasUsage = hasUsage
  }

  *piece(piece: Piece): Generator<SseEvent> {
    const { index, finishReason } = piece
    if (!this.#numCalls.has(index)) {
      this.#numCalls.set(index, 0)
      yield this.#chunk([deltaOf(index, { role: 'assistant', content: '' })])
    }
    for (const delta of deltasOf(piece, this.#numCalls)) yield this.#chunk([delta])
    if (finishReason !== undefined)
      yield this.#chunk([{ ...deltaOf(index, {}), finish_reason: reasonOf(finishReason) }])
  }

  *end(result: GenerateResult): Generator<SseEvent> {
    if (this.#hasUsage) yield this.#chunk([], usageOf(result.choices ?? [result]))
    yield { data: '[DONE]' }
  }

  #chunk(choices: object[], usage: object | null = null): SseEvent {
    return { data: { ...this.#head, choices, ...(this.#hasUsage && { usage }) } }
  }
}

/** The deltas of a piece. Log-probabilities go with its text, or alone. */
function* deltasOf(
  { index, reasoning, text, calls, logprobs }: Piece,
  numCalls: Map<number, number>,
): Generator<object> {
  if (reasoning !== '') yield deltaOf(index, { reasoning_content: reasoning })
  if (text !== '' || logprobs?.length) {
    yield { ...deltaOf(index, { content: text }), ...(logprobs && { logprobs: logprobsOf(logprobs) }) }
  }
  for (const call of calls) {
    const at = numCalls.get(index) ?? 0
    numCalls.set(index, at + 1)
    yield deltaOf(index, { tool_calls: [{ index: at, ...toolCall(call) }] })
  }
}

const deltaOf = (index: number, delta: object): object => ({ index, delta, logprobs: null, finish_reason: null })

const toolCall = ({ id, name, arguments: text }: Call): object => ({
  id,
  type: 'function',
  function: { name, arguments: text },
})

export function reasonOf(reason: GenerateResult['finishReason']): string {
  if (reason === 'tool-calls') return 'tool_calls'
  return reason === 'cancelled' ? 'stop' : reason
}

/** Special tokens, such as the end of a turn, are not part of the text. */
export function logprobsOf(logprobs: readonly TokenLogprob[]): object {
  const ofText = logprobs.filter(({ bytes }) => bytes !== undefined)
  const content = ofText.map(token => ({ ...probabilityOf(token), top_logprobs: token.top.map(probabilityOf) }))
  return { content, refusal: null }
}

const probabilityOf = ({ token, logprob, bytes }: TokenProbability): object => ({
  token,
  logprob,
  bytes: bytes ?? null,
})

/** The usage of all answers to a prompt, which counts once. */
export function usageOf(results: readonly { usage: Usage }[]): object {
  const [{ usage: first }] = results
  const total = (count: (usage: Usage) => number) => results.reduce((sum, { usage }) => sum + count(usage), 0)
  const completion = total(usage => usage.outputTokens)
  return {
    prompt_tokens: first.inputTokens,
    completion_tokens: completion,
    total_tokens: first.inputTokens + completion,
    prompt_tokens_details: { cached_tokens: first.cachedInputTokens },
    completion_tokens_details: { reasoning_tokens: total(usage => usage.reasoningTokens) },
  }
}
