// Params of a chat model and options of a call as params and options of `engine.generate`.

import type { BaseChatModelParams } from '@langchain/core/language_models/chat_models'
import type { GenerateOptions, MessagesParams } from '../../index'
import type { ChatMlxCallOptions, ChatMlxInput, ChatMlxParams } from '../../langchain'
import { invalid } from '../errors'

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

/** The params among the fields of a constructor. An unknown field is an error: a misspelled one would have no effect. */
export function paramsOf(fields: ChatMlxInput): ChatMlxParams {
  const known = [...Object.keys(PARAMS), ...Object.keys(BASE), 'model', 'engine']
  const unknown = Object.keys(fields).find(name => !known.includes(name))
  if (unknown !== undefined) throw invalid(unknown, `is not an option of ChatMlx; known are: ${known.join(', ')}`)
  return pick(fields, Object.keys(PARAMS))
}

/** The request of a call, without its model and messages. */
export function requestOf(
  defaults: ChatMlxParams,
  call: Partial<ChatMlxCallOptions>,
): { params: Omit<MessagesParams, 'model' | 'messages'>; options: GenerateOptions } {
  const all = { ...defaults, ...pick(call, Object.keys(PARAMS)) } as Record<string, unknown>
  const ofKind = (isOption: boolean) =>
    pick(
      all,
      Object.entries(PARAMS).flatMap(([name, kind]) => (kind === isOption ? [name] : [])),
    )
  const params: Omit<MessagesParams, 'model' | 'messages'> = ofKind(false)
  if (call.structured !== undefined) params.structured = call.structured
  if (call.stop !== undefined) params.stopSequences = call.stop
  if (call.tools?.length) {
    params.tools = call.tools
    if (call.tool_choice !== undefined) params.toolChoice = choiceOf(call.tool_choice as ToolChoice)
  } else delete params.parallelToolCalls
  return { params, options: { ...ofKind(true), ...(call.signal && { signal: call.signal }) } }
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
