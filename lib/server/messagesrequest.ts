// The request of /v1/messages of Anthropic, as params of the engine.

import type { ChatOptions, Message, Structured, Tool, ToolCall } from '../../index'
import type { Exchange } from './exchange'
import type { Fields } from './fields'
import type { Job } from './running'
import { effortVariables, readMaxTokens, readTopP, toolOf, toolOptions, withoutCuts } from './sampling'

export interface MessagesRequest {
  readonly job: Job
  readonly name: string
  readonly isStream: boolean
  readonly stopSequences: readonly string[]
}

/** Fields that concern Anthropic's own service, or that only tune caching there. */
const IGNORED = ['metadata', 'service_tier', 'cache_control', 'context_management', 'inference_geo', 'speed']

export function readMessagesRequest(exchange: Exchange, fields: Fields): MessagesRequest {
  const conversation = readConversation(exchange, fields)
  const isStream = fields.flag('stream') ?? false
  const given = fields.texts('stop_sequences') ?? []
  const params = withoutCuts(exchange, {
    ...conversation.params,
    maxTokens: fields.need('max_tokens', readMaxTokens(fields, ['max_tokens'])),
    temperature: fields.number('temperature', [0, 1]),
    topP: readTopP(fields),
    topK: fields.integer('top_k', [0, Number.MAX_SAFE_INTEGER]),
    // The end of the text shows which of them ended the answer.
    ...(given.length > 0 && { stopSequences: given, includeStop: true }),
    structured: readFormat(fields),
  })
  for (const name of IGNORED) fields.raw(name)
  for (const name of ['container', 'mcp_servers']) fields.only(name, [])
  exchange.warnOfUnread(fields)
  return {
    job: { ...conversation, params },
    name: conversation.name,
    isStream,
    stopSequences: params.stopSequences ?? [],
  }
}

/** What the prompt is made of, which is all that counting tokens needs. */
export function readConversation(exchange: Exchange, fields: Fields) {
  const { model, name } = exchange.model(fields.need('model', fields.text('model')))
  const turns = fields.need('messages', fields.objects('messages')).flatMap(readMessage)
  if (turns.length === 0) fields.fail('messages', 'must have a message')
  const messages = [...readSystem(fields), ...turns]
  const effort = readThinking(fields)
  const params = {
    model,
    messages,
    ...readTools(exchange, fields),
    ...(messages.at(-1)?.role === 'assistant' && { continueFinalMessage: true }),
    ...(Object.keys(effort).length > 0 && { templateVariables: effort }),
  }
  return { model, name, params, optionalVariables: Object.keys(effort) }
}

/** Claude Code starts its prompts with this line and changes it in each request, so the prefix cache would never hit. */
const CHANGING = /^x-anthropic-billing-header:/

function readSystem(fields: Fields): Message[] {
  const value = fields.raw('system')
  if (!Array.isArray(value)) {
    const text = fields.text('system')
    return text === undefined ? [] : [{ role: 'system', content: text }]
  }
  const texts = (fields.objects('system') ?? []).map(readText).filter(text => !CHANGING.test(text))
  return texts.length === 0 ? [] : [{ role: 'system', content: texts.join('\n\n') }]
}

function readText(block: Fields): string {
  block.need('type', block.oneOf('type', ['text']))
  return block.need('text', block.text('text'))
}

/** One message of Anthropic can be several messages of the engine: each tool result is a message. */
function readMessage(message: Fields): Message[] {
  const role = message.need('role', message.oneOf('role', ['user', 'assistant', 'system']))
  if (!Array.isArray(message.raw('content'))) {
    return [{ role, content: message.need('content', message.text('content')) }]
  }
  const blocks = message.objects('content') ?? []
  return role === 'assistant' ? [readAssistant(blocks)] : readUser(role, blocks)
}

function readAssistant(blocks: readonly Fields[]): Message {
  let text = ''
  let reasoning = ''
  const toolCalls: ToolCall[] = []
  for (const block of blocks) {
    const type = block.need('type', block.oneOf('type', ['text', 'thinking', 'redacted_thinking', 'tool_use']))
    if (type === 'text') text += block.need('text', block.text('text'))
    if (type === 'thinking') reasoning += block.need('thinking', block.text('thinking'))
    if (type === 'tool_use') toolCalls.push(readCall(block))
  }
  return {
    role: 'assistant',
    ...((text !== '' || toolCalls.length === 0) && { content: text }),
    ...(reasoning !== '' && { reasoning }),
    ...(toolCalls.length > 0 && { toolCalls }),
  }
}

function readCall(block: Fields): ToolCall {
  const id = block.need('id', block.text('id'))
  const name = block.need('name', block.text('name'))
  return { id, type: 'function', function: { name, arguments: block.plain('input') ?? {} } }
}

function readUser(role: string, blocks: readonly Fields[]): Message[] {
  const messages: Message[] = []
  const texts: string[] = []
  for (const block of blocks) {
    const type = block.need('type', block.text('type'))
    if (type === 'text') texts.push(block.need('text', block.text('text')))
    else if (type === 'tool_result') messages.push(readResult(block))
    else block.fail('type', "must be 'text' or 'tool_result'", 'unsupported_value')
  }
  // Results come first: they belong to the calls of the message before.
  if (texts.length > 0) messages.push({ role, content: texts.join('\n\n') })
  return messages
}

function readResult(block: Fields): Message {
  const toolCallId = block.need('tool_use_id', block.text('tool_use_id'))
  const isError = block.flag('is_error') ?? false
  const content = Array.isArray(block.raw('content'))
    ? (block.objects('content') ?? []).map(readText).join('\n\n')
    : (block.text('content') ?? '')
  return { role: 'tool', toolCallId, content: isError ? `Error: ${content}` : content }
}

/** Tools with a schema are functions. Anthropic's own tools run on its servers: they are left out, with a warning. */
function readTools(exchange: Exchange, fields: Fields): ChatOptions {
  const tools: Tool[] = []
  for (const tool of fields.objects('tools') ?? []) {
    const type = tool.text('type') ?? 'custom'
    if (type === 'custom') tools.push(toolOf(tool, 'input_schema'))
    else exchange.warn(`ignored a tool of type ${type.replace(/[^\w.-]/g, '?').slice(0, 64)}`)
  }
  const choice = fields.object('tool_choice')
  const isSerial = choice?.flag('disable_parallel_tool_use')
  return toolOptions(tools, choice && readChoice(choice), isSerial === undefined ? undefined : !isSerial)
}

function readChoice(choice: Fields): ChatOptions['toolChoice'] {
  const type = choice.need('type', choice.oneOf('type', ['auto', 'any', 'tool', 'none']))
  if (type === 'tool') return { name: choice.need('name', choice.text('name')) }
  return type === 'any' ? 'required' : type
}

/** `thinking`, and the effort in `output_config`, as variables of the chat template. */
function readThinking(fields: Fields): Record<string, unknown> {
  const thinking = fields.object('thinking')
  const type = thinking?.need('type', thinking.oneOf('type', ['enabled', 'disabled', 'adaptive']))
  const effort = effortVariables(fields.object('output_config'), 'effort')
  return type === undefined ? effort : { ...effort, enable_thinking: type !== 'disabled' }
}

/** The schema of the answer, under its name and under that of the beta. */
function readFormat(fields: Fields): Structured | undefined {
  const format = fields.object('output_config')?.object('format') ?? fields.object('output_format')
  if (format === undefined) return undefined
  format.need('type', format.oneOf('type', ['json_schema']))
  return { schema: format.need('schema', format.plain('schema')) }
}
