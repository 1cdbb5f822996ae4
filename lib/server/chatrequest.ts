// The request of /v1/chat/completions, as params of the engine.

import type { Message, TextPart, ToolCall } from '../../index'
import type { Exchange } from './exchange'
import { Fields } from './fields'
import type { Job } from './running'
import {
  effortVariables,
  ignoreService,
  readFormat,
  readMaxTokens,
  readSampling,
  readTool,
  readToolChoice,
  toolOptions,
  withoutCuts,
} from './sampling'

export interface ChatRequest {
  readonly job: Job
  /** The name of the model that the client used. */
  readonly name: string
  readonly isStream: boolean
  readonly hasUsage: boolean
}

export function readChatRequest(exchange: Exchange, fields: Fields): ChatRequest {
  const { model, name } = exchange.model(fields.text('model'))
  const isStream = fields.flag('stream') ?? false
  const streamOptions = fields.object('stream_options')
  refuseOthers(fields)
  const tools = (fields.objects('tools') ?? []).map(readTool)
  const choice = readToolChoice(fields, choice => {
    const called = choice.need('function', choice.object('function'))
    return called.need('name', called.text('name'))
  })
  const effort = effortVariables(fields, 'reasoning_effort')
  const variables = { ...effort, ...fields.plain('chat_template_kwargs') }
  const params = withoutCuts(exchange, {
    model,
    messages: readMessages(fields),
    ...readSampling(fields),
    maxTokens: readMaxTokens(fields, ['max_completion_tokens', 'max_tokens']),
    logprobs: readLogprobs(fields),
    structured: readFormat(fields.object('response_format')),
    ...toolOptions(tools, choice, fields.flag('parallel_tool_calls')),
    ...(Object.keys(variables).length > 0 && { templateVariables: variables }),
  })
  ignoreService(fields)
  exchange.warnOfUnread(fields)
  const job = { model, params, optionalVariables: Object.keys(effort) }
  return { job, name, isStream, hasUsage: streamOptions?.flag('include_usage') ?? false }
}

/** Refuses fields that would change the answer and are not supported. */
function refuseOthers(fields: Fields): void {
  for (const name of ['functions', 'function_call']) fields.only(name, [])
  for (const name of ['audio', 'prediction', 'web_search_options']) fields.only(name, [])
  const modalities = fields.texts('modalities') ?? []
  if (modalities.some(one => one !== 'text')) fields.fail('modalities', "may only have 'text'", 'unsupported_value')
}

/** The number of alternatives for each token. `logprobs` alone asks for the tokens of the answer only. */
function readLogprobs(fields: Fields): number | undefined {
  const isWanted = fields.flag('logprobs') ?? false
  const top = fields.integer('top_logprobs', [0, 20])
  if (!isWanted && top) fields.fail('top_logprobs', 'needs `logprobs`')
  return isWanted ? (top ?? 0) : undefined
}

function readMessages(fields: Fields): Message[] {
  const messages = fields.need('messages', fields.objects('messages'))
  if (messages.length === 0) fields.fail('messages', 'must have a message')
  return messages.map(readMessage)
}

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'] as const

function readMessage(message: Fields): Message {
  const role = message.need('role', message.oneOf('role', ROLES))
  const content = readContent(message, 'content', role === 'assistant' ? ['text', 'refusal'] : ['text'])
  const name = message.text('name')
  const named = name === undefined ? {} : { name }
  if (role === 'assistant') return { role, ...readAssistant(message, content), ...named }
  const text = message.need('content', content)
  // Chat templates know the older name of the role.
  if (role === 'developer') return { role: 'system', content: text, ...named }
  if (role !== 'tool') return { role, content: text, ...named }
  return { role, content: text, toolCallId: message.need('tool_call_id', message.text('tool_call_id')), ...named }
}

function readAssistant(message: Fields, content: Message['content']): Omit<Message, 'role'> {
  message.only('function_call', [])
  const toolCalls = message.objects('tool_calls')?.map(readCall) ?? []
  const reasoning = message.text('reasoning_content') ?? message.text('reasoning')
  if (content === undefined && toolCalls.length === 0) message.need('content', undefined)
  return {
    ...(content !== undefined && { content }),
    ...(toolCalls.length > 0 && { toolCalls }),
    ...(reasoning !== undefined && { reasoning }),
  }
}

function readCall(call: Fields): ToolCall {
  call.oneOf('type', ['function'])
  const id = call.text('id')
  const called = call.need('function', call.object('function'))
  const name = called.need('name', called.text('name'))
  return { ...(id !== undefined && { id }), type: 'function', function: { name, arguments: readArguments(called) } }
}

/** The arguments of a call, whose text is empty for a function without parameters in some clients. */
export function readArguments(called: Fields): string {
  const text = called.text('arguments') || '{}'
  try {
    new Fields(JSON.parse(text))
  } catch {
    called.fail('arguments', 'must be the JSON text of an object')
  }
  return text
}

/** A text, or its parts. Parts of other types, such as images, are refused. */
export function readContent(holder: Fields, name: string, types: readonly string[]): string | TextPart[] | undefined {
  const value = holder.raw(name)
  if (!Array.isArray(value)) return holder.text(name)
  return (holder.objects(name) ?? []).map(part => {
    const type = part.need('type', part.text('type'))
    if (!types.includes(type))
      part.fail('type', `must be ${types.map(one => `'${one}'`).join(' or ')}`, 'unsupported_value')
    const field = type === 'refusal' ? 'refusal' : 'text'
    return { type: 'text', text: part.need(field, part.text(field)) }
  })
}
