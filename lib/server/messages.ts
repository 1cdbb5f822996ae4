// /v1/messages of Anthropic, and the count of tokens.

import type { GenerateResult, Usage } from '../../index'
import type { SseEvent } from '../../server'
import { readBody } from './body'
import { chatTokens } from './counting'
import { type Exchange, json, newId } from './exchange'
import { type MessagesRequest, readConversation, readMessagesRequest } from './messagesrequest'
import { type Call, callsOf, type Piece } from './pieces'
import { anthropicProblem } from './problem'
import { type EventWriter, streamed, wholeAnswer } from './running'

export async function messages(exchange: Exchange): Promise<Response> {
  const fields = await readBody(exchange.request, exchange.site.settings.maxBodyBytes)
  const request = readMessagesRequest(exchange, fields)
  const head = { id: newId('msg_'), type: 'message', role: 'assistant', model: request.name }
  if (!request.isStream) return json({ ...head, ...message(await wholeAnswer(exchange, request.job), request) })
  return streamed(exchange, request.job, {
    writer: inputTokens => new MessageWriter(head, request, inputTokens),
    failed: problem => [{ event: 'error', data: anthropicProblem(problem, exchange.id) }],
  })
}

export async function countTokens(exchange: Exchange): Promise<Response> {
  const fields = await readBody(exchange.request, exchange.site.settings.maxBodyBytes)
  const { params, optionalVariables } = readConversation(exchange, fields)
  const { toolChoice: _, parallelToolCalls: __, ...chat } = params
  await exchange.loaded(params.model)
  return json({ input_tokens: await chatTokens(exchange.site.engine, chat, optionalVariables) })
}

function message(result: GenerateResult, { stopSequences }: MessagesRequest): object {
  const end = endOf(result.text, result.finishReason, stopSequences)
  return {
    content: [
      ...(result.reasoning === undefined ? [] : [{ type: 'thinking', thinking: result.reasoning, signature: '' }]),
      ...(end.text === '' ? [] : [{ type: 'text', text: end.text }]),
      ...callsOf(result).map(toolUse),
    ],
    stop_reason: end.reason,
    stop_sequence: end.sequence,
    usage: usageOf(result.usage),
  }
}

const toolUse = ({ id, name, arguments: text }: Call): object => ({
  type: 'tool_use',
  id,
  name,
  input: JSON.parse(text),
})

/** Why an answer ended. `text` includes the stop sequence that ended the answer; the result has the text without it. */
function endOf(text: string, reason: GenerateResult['finishReason'], stopSequences: readonly string[]) {
  const sequence = reason === 'stop' ? stopSequences.find(one => text.endsWith(one)) : undefined
  if (sequence !== undefined) return { text: text.slice(0, -sequence.length), reason: 'stop_sequence', sequence }
  const reasons = { stop: 'end_turn', length: 'max_tokens', 'tool-calls': 'tool_use', cancelled: 'end_turn' }
  return { text, reason: reasons[reason], sequence: null }
}

/** The number of characters at the end of a text with which one of these sequences begins. */
function beginningOf(sequences: readonly string[], text: string): number {
  const lengths = sequences.map(sequence => {
    let length = Math.min(sequence.length, text.length)
    while (!text.endsWith(sequence.slice(0, length))) length--
    return length
  })
  return Math.max(0, ...lengths)
}

/** Tokens that were not computed are counted apart. */
function usageOf({ inputTokens, cachedInputTokens, outputTokens }: Usage): object {
  return {
    input_tokens: inputTokens - cachedInputTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cachedInputTokens,
    output_tokens: outputTokens,
  }
}

class MessageWriter implements EventWriter {
  readonly #begun: object
  readonly #stopSequences: readonly string[]
  readonly #blocks = new Blocks()
  #hasBegun = false
  #delta = {}
  /** The end of the text so far that a stop sequence may begin with. The end of the answer decides. */
  #held = ''

  constructor(head: object, { stopSequences }: MessagesRequest, inputTokens: number) {
    const usage = {
      input_tokens: inputTokens,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
      output_tokens: 0,
    }
    this.#begun = { ...head, content: [], stop_reason: null, stop_sequence: null, usage }
    this.#stopSequences = stopSequences
  }

  *piece({ reasoning, text, calls, finishReason }: Piece): Generator<SseEvent> {
    yield* this.#begin()
    if (reasoning !== '') {
      yield* this.#write(this.#held)
      yield* this.#blocks.thinking(reasoning)
    }
    const all = this.#held + text
    const end = finishReason && endOf(all, finishReason, this.#stopSequences)
    const numHeld = end || calls.length > 0 ? 0 : beginningOf(this.#stopSequences, all)
    yield* this.#write(end ? end.text : all, numHeld)
    for (const call of calls) yield* this.#blocks.call(call)
    if (end) this.#delta = { stop_reason: end.reason, stop_sequence: end.sequence }
  }

  *end({ usage }: GenerateResult): Generator<SseEvent> {
    yield* this.#begin()
    yield* this.#blocks.end()
    yield named({ type: 'message_delta', delta: this.#delta, usage: usageOf(usage) })
    yield named({ type: 'message_stop' })
  }

  /** Writes a text without its last `numHeld` characters, which are held. */
  *#write(text: string, numHeld = 0): Generator<SseEvent> {
    const end = text.length - numHeld
    this.#held = text.slice(end)
    yield* this.#blocks.text(text.slice(0, end))
  }

  *#begin(): Generator<SseEvent> {
    if (this.#hasBegun) return
    this.#hasBegun = true
    yield named({ type: 'message_start', message: this.#begun })
  }
}

/** Anthropic repeats the type of an event in the event's own name. */
const named = (data: { type: string; [field: string]: unknown }): SseEvent => ({ event: data.type, data })

/** The blocks of a message: each is started, filled and stopped, one after another. */
class Blocks {
  #index = -1
  #type: 'thinking' | 'text' | undefined;

  *thinking(thinking: string): Generator<SseEvent> {
    yield* this.#begin('thinking', { type: 'thinking', thinking: '', signature: '' })
    yield this.#delta({ type: 'thinking_delta', thinking })
  }

  *text(text: string): Generator<SseEvent> {
    if (text === '') return
    yield* this.#begin('text', { type: 'text', text: '' })
    yield this.#delta({ type: 'text_delta', text })
  }

  *call({ id, name, arguments: text }: Call): Generator<SseEvent> {
    yield* this.end()
    yield this.#start({ type: 'tool_use', id, name, input: {} })
    yield this.#delta({ type: 'input_json_delta', partial_json: text })
    yield this.#stop()
  }

  /** Stops the block that is open. */
  *end(): Generator<SseEvent> {
    if (this.#type === 'thinking') yield this.#delta({ type: 'signature_delta', signature: '' })
    if (this.#type !== undefined) yield this.#stop()
    this.#type = undefined
  }

  *#begin(type: 'thinking' | 'text', block: object): Generator<SseEvent> {
    if (this.#type === type) return
    yield* this.end()
    this.#type = type
    yield this.#start(block)
  }

  #start(block: object): SseEvent {
    this.#index++
    return named({ type: 'content_block_start', index: this.#index, content_block: block })
  }

  #delta(delta: object): SseEvent {
    return named({ type: 'content_block_delta', index: this.#index, delta })
  }

  #stop(): SseEvent {
    return named({ type: 'content_block_stop', index: this.#index })
  }
}
