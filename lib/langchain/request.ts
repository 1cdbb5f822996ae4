// Params of a chat model and options of a call as params and options of `engine.generate`.

import type { BaseChatModelParams } from '@langchain/core/language_models/chat_models'
import type { GenerateOptions, MessagesParams, Structured } from '../../index'
import type { ChatMlxCallOptions, ChatMlxInput, ChatMlxParams } from '../../langchain'
import { invalid } from '../errors'
import { isAbsent, show } from '../options'
import { IGNORED_STOPS, isFormEnforced } from '../structured'
import { plainSchema } from './schemas'

/** What a chat model can set for all of its answers: true for options of `engine.generate`, false for params. */
const PARAMS: Record<keyof ChatMlxParams, boolean> = {
  maxTokens: false,
  temperature: false,
  topP: false,
  topK: false,
  minP: false,
  repetitionPenalty: false,
  repetitionContextTokens: false,
  presencePenalty: false,
  frequencyPenalty: false,
  logitBias: false,
  logprobs: false,
  seed: false,
  stopSequences: false,
  includeStop: false,
  stopTokenIds: false,
  ignoreEos: false,
  minTokens: false,
  cacheSalt: false,
  parallelToolCalls: false,
  continueFinalMessage: false,
  templateVariables: false,
  specialTokens: false,
  timeoutMs: true,
  priority: true,
  tenant: true,
}
/** Fields of the constructor that LangChain reads. */
const BASE: Record<keyof BaseChatModelParams, true> = {
  verbose: true,
  callbacks: true,
  tags: true,
  metadata: true,
  maxConcurrency: true,
  maxRetries: true,
  onFailedAttempt: true,
  callbackManager: true,
  cache: true,
  disableStreaming: true,
  outputVersion: true,
}

/** Options of a call beside the params: those of this model, of LangChain's models, of its runs, and of LangGraph's runs. */
const CALL = [
  ...['tools', 'tool_choice', 'structured', 'response_format'],
  ...['stop', 'maxRetries', 'outputVersion', 'ls_structured_output_format', 'promptIndex', 'version', 'encoding'],
  ...['callbacks', 'tags', 'metadata', 'runName', 'runId', 'configurable', 'recursionLimit', 'maxConcurrency'],
  ...['timeout', 'signal', 'store', 'context', 'writer', 'interrupt', 'interruptBefore', 'interruptAfter'],
  ...['outputKeys', 'streamMode', 'checkpointDuring', 'durability', 'heartbeat'],
  ...['executionInfo', 'serverInfo', 'control'],
]
/** What agents pass beside `response_format`: the same schema for other providers. */
const OTHER_FORMATS = ['outputConfig', 'responseSchema']

/** The params among the fields of a constructor. An unknown field is an error: a misspelled one would have no effect. */
export function paramsOf(fields: ChatMlxInput): ChatMlxParams {
  const known = [...Object.keys(PARAMS), ...Object.keys(BASE), 'model', 'engine']
  const unknown = Object.keys(fields).find(name => !known.includes(name))
  if (unknown !== undefined) throw invalid(unknown, `is not an option of ChatMlx; known are: ${known.join(', ')}`)
  return pick(fields, Object.keys(PARAMS))
}

/** A request for `engine.generate`, without its model and messages. */
export interface ReadyRequest {
  params: Omit<MessagesParams, 'model' | 'messages'>
  options: GenerateOptions
  /** Options that have no effect. */
  warnings: string[]
}

/** The request of a call. Params of the call override the defaults. */
export function requestOf(defaults: ChatMlxParams, call: Partial<ChatMlxCallOptions>): ReadyRequest {
  const all = { ...defaults, ...pick(call, Object.keys(PARAMS)) } as Record<string, unknown>
  const ofKind = (isOption: boolean) =>
    pick(
      all,
      Object.entries(PARAMS).flatMap(([name, kind]) => (kind === isOption ? [name] : [])),
    )
  const params: ReadyRequest['params'] = ofKind(false)
  const structured = structuredOf(call)
  if (structured !== undefined) params.structured = structured
  if (!isAbsent(call.stop)) params.stopSequences = call.stop
  if (call.tools?.length) {
    params.tools = call.tools
    if (call.tool_choice !== undefined) params.toolChoice = choiceOf(call.tool_choice as ToolChoice)
  } else delete params.parallelToolCalls
  const warnings = [...unknownOf(call), ...withoutCuts(params)]
  return { params, options: { ...ofKind(true), ...(call.signal && { signal: call.signal }) }, warnings }
}

/** Warnings about options of a call that nothing reads. They are no errors, because LangChain passes options of its own. */
function unknownOf(call: Partial<ChatMlxCallOptions>): string[] {
  const known = [...Object.keys(PARAMS), ...CALL, ...(isAbsent(call.response_format) ? [] : OTHER_FORMATS)]
  return Object.entries(call).flatMap(([name, value]) =>
    isAbsent(value) || known.includes(name) ? [] : [`ignored the unknown option \`${name}\``],
  )
}

/** Leaves out stop sequences that could cut an answer whose form is enforced, with a warning. The engine refuses them. */
function withoutCuts(params: ReadyRequest['params']): string[] {
  const { stopSequences = [] } = params
  if (stopSequences.length === 0 || !isFormEnforced(params)) return []
  delete params.stopSequences
  return [IGNORED_STOPS]
}

/** The form of the answer: `structured`, or that of OpenAI's `response_format`. */
function structuredOf({ structured, response_format: format }: Partial<ChatMlxCallOptions>): Structured | undefined {
  if (isAbsent(format)) return structured
  const { type, json_schema } = format as { type?: unknown; json_schema?: { schema?: unknown } | null }
  if (type === 'text') return structured
  if (!isAbsent(structured)) throw invalid('response_format', 'cannot be combined with `structured`')
  if (type === 'json_object') return { schema: { type: 'object' } }
  if (type !== 'json_schema')
    throw invalid('response_format.type', `must be one of text, json_object, json_schema, not ${show(type)}`)
  const schema = json_schema?.schema
  if (typeof schema !== 'object' || schema === null)
    throw invalid('response_format.json_schema.schema', `must be a JSON schema, not ${show(schema)}`)
  return { schema: plainSchema(schema) }
}

type ToolChoice = NonNullable<ChatMlxCallOptions['tool_choice']>

function choiceOf(choice: ToolChoice): MessagesParams['toolChoice'] {
  if (typeof choice !== 'string') return choice
  if (choice === 'any' || choice === 'required') return 'required'
  return choice === 'auto' || choice === 'none' ? choice : { name: choice }
}

function pick(fields: object, names: string[]): Record<string, unknown> {
  const present = names.map(name => [name, (fields as Record<string, unknown>)[name]])
  return Object.fromEntries(present.filter(([, value]) => value !== undefined && value !== null))
}
