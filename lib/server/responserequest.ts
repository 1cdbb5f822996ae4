// The request of /v1/responses of OpenAI, as params of the engine.

import type { ChatOptions, Message, Tool } from '../../index'
import { readArguments, readContent } from './chatrequest'
import type { Exchange } from './exchange'
import type { Fields } from './fields'
import type { Job } from './running'
import {
  effortVariables,
  ignoreService,
  readFormat,
  readMaxTokens,
  readToolChoice,
  readTopP,
  toolOf,
  toolOptions,
} from './sampling'

export interface ResponseRequest {
  readonly job: Job
  readonly isStream: boolean
  readonly isStored: boolean
  /** The conversation without the instructions. */
  readonly messages: readonly Message[]
  /** The fields of the request that its response repeats. */
  readonly repeated: object
}

export function readResponseRequest(exchange: Exchange, fields: Fields): ResponseRequest {
  const { model, name } = exchange.model(fields.text('model'))
  const instructions = fields.text('instructions')
  const messages = [...readPrevious(exchange, fields), ...readInput(fields)]
  const reasoning = fields.object('reasoning')
  const effort = effortVariables(reasoning, 'effort')
  const params = {
    model,
    messages: [...(instructions === undefined ? [] : [{ role: 'system', content: instructions }]), ...messages],
    maxTokens: readMaxTokens(fields, ['max_output_tokens']),
    temperature: fields.number('temperature', [0, 2]),
    topP: readTopP(fields),
    logprobs: readLogprobs(fields),
    structured: readFormat(fields.object('text')?.object('format')),
    ...readTools(exchange, fields),
    ...(Object.keys(effort).length > 0 && { templateVariables: effort }),
  }
  refuseOthers(fields)
  ignoreService(fields)
  const isStream = fields.flag('stream') ?? false
  const isStored = fields.flag('store') ?? true
  exchange.warnOfUnread(fields)
  const job = { model, params, optionalVariables: Object.keys(effort) }
  return { job, isStream, isStored, messages, repeated: repeatedOf(fields, name) }
}

/** Refuses fields that would change the answer and are not supported, and ignores fields that change nothing here. */
function refuseOthers(fields: Fields): void {
  fields.only('background', [false])
  fields.only('truncation', ['disabled'])
  for (const name of ['conversation', 'prompt']) fields.only(name, [])
  for (const name of ['client_metadata', 'max_tool_calls', 'stream_options']) fields.raw(name)
}

function repeatedOf(fields: Fields, model: string): object {
  const or = (name: string, absent: unknown) => fields.raw(name) ?? absent
  return {
    model,
    instructions: or('instructions', null),
    max_output_tokens: or('max_output_tokens', null),
    metadata: or('metadata', {}),
    parallel_tool_calls: or('parallel_tool_calls', true),
    previous_response_id: or('previous_response_id', null),
    reasoning: or('reasoning', { effort: null, summary: null }),
    store: or('store', true),
    temperature: or('temperature', null),
    text: or('text', { format: { type: 'text' } }),
    tool_choice: or('tool_choice', 'auto'),
    tools: or('tools', []),
    top_p: or('top_p', null),
    truncation: 'disabled',
  }
}

function readPrevious({ site, key }: Exchange, fields: Fields): readonly Message[] {
  const id = fields.text('previous_response_id')
  if (id === undefined) return []
  const previous = site.responses.get(id, key?.tenant)
  return (
    previous?.messages ??
    fields.fail(
      'previous_response_id',
      'is not the id of a response that this server has',
      'previous_response_not_found',
    )
  )
}

/** The number of alternatives for each token. `include` requests log-probabilities, `top_logprobs` has the number. */
function readLogprobs(fields: Fields): number | undefined {
  const include = fields.texts('include') ?? []
  const top = fields.integer('top_logprobs', [0, 20])
  return include.includes('message.output_text.logprobs') ? (top ?? 0) : undefined
}

function readTools(exchange: Exchange, fields: Fields): ChatOptions {
  const tools: Tool[] = []
  for (const tool of fields.objects('tools') ?? []) {
    const type = tool.need('type', tool.text('type'))
    if (type === 'function') tools.push(toolOf(tool))
    // Clients send the tools that OpenAI runs to other servers, too. They are not passed to the model.
    else exchange.warn(`ignored a tool of type ${type.replace(/[^\w.-]/g, '?').slice(0, 64)}`)
  }
  const choice = readToolChoice(fields, choice => choice.need('name', choice.text('name')))
  return toolOptions(tools, choice, fields.flag('parallel_tool_calls'))
}

function readInput(fields: Fields): Message[] {
  const value = fields.need('input', fields.raw('input'))
  if (!Array.isArray(value)) return [{ role: 'user', content: fields.need('input', fields.text('input')) }]
  const turns = new Turns()
  for (const item of fields.objects('input') ?? []) readItem(item, turns)
  const messages = turns.end()
  return messages.length > 0 ? messages : fields.fail('input', 'must have an item')
}

const CONTENT_TYPES = ['input_text', 'output_text', 'text', 'refusal']

function readItem(item: Fields, turns: Turns): void {
  const type = item.text('type') ?? 'message'
  if (type === 'message') readMessage(item, turns)
  else if (type === 'reasoning') turns.reason(readReasoning(item))
  else if (type === 'function_call') {
    const id = item.need('call_id', item.text('call_id'))
    const name = item.need('name', item.text('name'))
    turns.call({ id, type: 'function', function: { name, arguments: readArguments(item) } })
  } else if (type === 'function_call_output') {
    const toolCallId = item.need('call_id', item.text('call_id'))
    turns.add({ role: 'tool', toolCallId, content: item.need('output', readContent(item, 'output', CONTENT_TYPES)) })
  } else item.fail('type', 'is not supported', 'unsupported_value')
}

function readMessage(item: Fields, turns: Turns): void {
  const role = item.need('role', item.oneOf('role', ['system', 'developer', 'user', 'assistant']))
  const content = item.need('content', readContent(item, 'content', CONTENT_TYPES))
  if (role === 'assistant') turns.say(content)
  else turns.add({ role: role === 'developer' ? 'system' : role, content })
}

function readReasoning(item: Fields): string {
  const parts = [...(item.objects('content') ?? []), ...(item.objects('summary') ?? [])]
  return parts.map(part => part.need('text', part.text('text'))).join('\n\n')
}

/** Messages of items: reasoning, text and calls of one turn of the assistant are one message. */
class Turns {
  readonly #messages: Message[] = []
  #assistant: Message | undefined

  add(message: Message): void {
    this.end()
    this.#messages.push(message)
  }

  reason(reasoning: string): void {
    if (this.#assistant?.content !== undefined || this.#assistant?.toolCalls) this.end()
    if (reasoning === '') return
    const turn = this.#turn()
    this.#assistant = {
      ...turn,
      reasoning: turn.reasoning === undefined ? reasoning : `${turn.reasoning}\n\n${reasoning}`,
    }
  }

  say(content: NonNullable<Message['content']>): void {
    if (this.#assistant?.content !== undefined || this.#assistant?.toolCalls) this.end()
    this.#assistant = { ...this.#turn(), content }
  }

  call(call: NonNullable<Message['toolCalls']>[number]): void {
    const turn = this.#turn()
    this.#assistant = { ...turn, toolCalls: [...(turn.toolCalls ?? []), call] }
  }

  /** The messages so far. The turn of the assistant ends. */
  end(): Message[] {
    const turn = this.#assistant
    this.#assistant = undefined
    // Reasoning alone is not a message.
    if (turn?.content !== undefined || turn?.toolCalls) this.#messages.push(turn)
    return this.#messages
  }

  #turn(): Message {
    return this.#assistant ?? { role: 'assistant' }
  }
}
