// The requests of /api/chat and /api/generate of Ollama, as params of the engine.

import type { GenerateParams, Message, SamplingOptions, Structured, Tool, ToolCall } from '../../index'
import type { Exchange } from './exchange'
import type { Fields } from './fields'
import type { Job } from './running'
import { readTool, readTopP, withoutCuts } from './sampling'

export interface OllamaRequest {
  readonly job: Job
  /** The name of the model that the client used. */
  readonly name: string
  readonly isStream: boolean
}

/** The model of a request. Ollama names a model without a tag with the tag `latest` as well. */
export function readModel(exchange: Exchange, fields: Fields): { model: string; name: string } {
  const name = fields.need('model', fields.text('model') ?? fields.text('name'))
  const plain = name.replace(/:latest$/, '')
  const isAlias = exchange.site.settings.aliases.has(name)
  return { model: exchange.model(isAlias ? name : plain).model, name }
}

export function readOllamaChat(exchange: Exchange, fields: Fields): OllamaRequest {
  const messages = readMessages(fields.need('messages', fields.objects('messages')))
  if (messages.length === 0) fields.fail('messages', 'must have a message')
  const tools = (fields.objects('tools') ?? []).map(readTool)
  return requestOf(exchange, fields, { messages, ...(tools.length > 0 && { tools: tools as Tool[] }) })
}

export function readOllamaGenerate(exchange: Exchange, fields: Fields): OllamaRequest {
  const prompt = fields.text('prompt') ?? ''
  const system = fields.text('system')
  for (const name of ['suffix', 'template']) fields.only(name, [''])
  refuseImages(fields)
  fields.raw('context')
  if (fields.flag('raw')) return requestOf(exchange, fields, { prompt })
  const before: Message[] = system === undefined ? [] : [{ role: 'system', content: system }]
  return requestOf(exchange, fields, { messages: [...before, { role: 'user', content: prompt }] })
}

type Prompt = { messages: Message[]; tools?: Tool[] } | { prompt: string }

function requestOf(exchange: Exchange, fields: Fields, prompt: Prompt): OllamaRequest {
  const { model, name } = readModel(exchange, fields)
  const variables = 'messages' in prompt ? readThink(fields) : {}
  const params = withoutCuts(exchange, {
    model,
    ...prompt,
    ...readOptions(fields.object('options')),
    structured: readFormat(fields),
    ...(Object.keys(variables).length > 0 && { templateVariables: variables }),
  } as GenerateParams)
  const isStream = fields.flag('stream') ?? true
  fields.raw('keep_alive')
  exchange.warnOfUnread(fields)
  return { job: { model, params, optionalVariables: Object.keys(variables) }, name, isStream }
}

/** Options that concern the loading of a model, such as `num_ctx`, have no effect. */
function readOptions(options: Fields | undefined): Omit<SamplingOptions, 'model'> {
  if (options === undefined) return {}
  const limit = options.integer('num_predict', [-2, Number.MAX_SAFE_INTEGER])
  return {
    // A negative number means as many as the context allows. 0 selects the default of the server.
    maxTokens: limit !== undefined && limit < 0 ? Number.MAX_SAFE_INTEGER : limit || undefined,
    temperature: options.number('temperature', [0, 2]),
    topP: readTopP(options),
    topK: options.integer('top_k', [0, Number.MAX_SAFE_INTEGER]),
    minP: options.number('min_p', [0, 1]),
    repetitionPenalty: options.number('repeat_penalty', [0.01, 10]),
    presencePenalty: options.number('presence_penalty', [-2, 2]),
    frequencyPenalty: options.number('frequency_penalty', [-2, 2]),
    seed: options.integer('seed', [0, Number.MAX_SAFE_INTEGER]),
    stopSequences: options.texts('stop'),
  }
}

function readFormat(fields: Fields): Structured | undefined {
  const value = fields.raw('format')
  if (value === undefined || value === '') return undefined
  if (value === 'json') return { schema: { type: 'object' } }
  return { schema: fields.need('format', fields.plain('format')) }
}

/** Variables of the chat template for `think`, which is a flag or an effort. */
function readThink(fields: Fields): Record<string, unknown> {
  const think = fields.raw('think')
  if (think === undefined) return {}
  if (typeof think === 'boolean') return { enable_thinking: think }
  return { enable_thinking: true, reasoning_effort: fields.oneOf('think', ['low', 'medium', 'high']) }
}

function refuseImages(fields: Fields): void {
  if ((fields.list('images') ?? []).length > 0) fields.fail('images', 'are not supported', 'unsupported_value')
}

/** Ollama's calls have no ids: results answer the calls before them in order. */
function readMessages(messages: readonly Fields[]): Message[] {
  const open: string[] = []
  return messages.map((message, index) => {
    const role = message.need('role', message.oneOf('role', ['system', 'user', 'assistant', 'tool']))
    const content = message.text('content') ?? ''
    refuseImages(message)
    if (role === 'tool') return { role, content, toolCallId: open.shift() ?? `call_${index}` }
    if (role !== 'assistant') return { role, content }
    const calls = (message.objects('tool_calls') ?? []).map((call, at) => readCall(call, `call_${index}_${at}`))
    const reasoning = message.text('thinking')
    open.splice(0, open.length, ...calls.map(({ id }) => id as string))
    return {
      role,
      content,
      ...(calls.length > 0 && { toolCalls: calls }),
      ...(reasoning !== undefined && { reasoning }),
    }
  })
}

function readCall(call: Fields, id: string): ToolCall {
  const called = call.need('function', call.object('function'))
  const name = called.need('name', called.text('name'))
  return { id, type: 'function', function: { name, arguments: JSON.stringify(called.plain('arguments') ?? {}) } }
}
