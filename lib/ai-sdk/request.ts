// The settings of a call of the AI SDK as params and options of `engine.generate`. A setting without an effect is a warning, as
// the AI SDK wants it; an option in `providerOptions.mlx` that is unknown is an error, since it was written for this package.

import type {
  LanguageModelV4CallOptions,
  LanguageModelV4FunctionTool,
  LanguageModelV4ToolChoice,
} from '@ai-sdk/provider'
import type { ChatOptions, GenerateOptions, MessagesParams, Structured, Tool } from '../../index'
import { invalid } from '../errors'
import { readKnown } from '../options'
import { messagesOf } from './prompt'
import { Warnings } from './warnings'

/** Fields of `providerOptions.mlx` that are params of `engine.generate`. */
const PARAMS = [
  'minP',
  'repetitionPenalty',
  'repetitionContextTokens',
  'logitBias',
  'logprobs',
  'minTokens',
  'stopTokenIds',
  'ignoreEos',
  'includeStop',
  'cache',
  'cacheSalt',
  'structured',
  'continueFinalMessage',
  'templateVariables',
  'specialTokens',
  'parallelToolCalls',
]
/** Those that are options of `engine.generate`. */
const OPTIONS = ['timeoutMs', 'priority', 'tenant']
/** An answer in JSON without a schema. Text in quotation marks is JSON, too, but not what is wanted. */
const ANY_JSON: Structured = { schema: { type: ['object', 'array'] } }

/** A request for `engine.generate`, without its model. */
export interface ReadyRequest {
  params: Omit<MessagesParams, 'model'>
  options: GenerateOptions
  warnings: Warnings
}

/** The request of a call. Throws for what the engine cannot do at all. */
export function requestOf(call: LanguageModelV4CallOptions): ReadyRequest {
  const warnings = new Warnings()
  const own = readKnown(call.providerOptions?.mlx, 'providerOptions.mlx', [...PARAMS, ...OPTIONS])
  const tools = toolsOf(call, warnings)
  const params: ReadyRequest['params'] = {
    messages: messagesOf(call.prompt, warnings),
    ...present({
      maxTokens: call.maxOutputTokens,
      temperature: call.temperature,
      topP: call.topP,
      topK: call.topK,
      presencePenalty: call.presencePenalty,
      frequencyPenalty: call.frequencyPenalty,
      seed: call.seed,
    }),
    ...pick(own, PARAMS),
    ...tools,
  }
  if (tools.tools === undefined) delete params.parallelToolCalls
  constrain(params, call, warnings)
  if (call.reasoning !== undefined && call.reasoning !== 'provider-default') {
    const details = 'chat templates have switches of their own: see providerOptions.mlx.templateVariables'
    warnings.unsupported('reasoning', details)
  }
  return { params, options: present({ ...pick(own, OPTIONS), signal: call.abortSignal }), warnings }
}

/** Adds the form of the answer, and texts that end it. The engine refuses both together, because one would break the other. */
function constrain(params: ReadyRequest['params'], call: LanguageModelV4CallOptions, warnings: Warnings): void {
  const { responseFormat, stopSequences = [] } = call
  if (responseFormat?.type === 'json') {
    if (params.structured !== undefined) {
      throw invalid('providerOptions.mlx.structured', 'cannot be combined with an output in JSON')
    }
    const { schema } = responseFormat
    params.structured = schema === undefined ? ANY_JSON : { schema }
  }
  if (stopSequences.length === 0) return
  if (params.structured !== undefined || isCallEnforced(call))
    warnings.unsupported('stopSequences', 'they would cut an answer whose form is enforced')
  else params.stopSequences = stopSequences
}

/** Whether the answer must be a tool call. */
function isCallEnforced({ tools = [], toolChoice }: LanguageModelV4CallOptions): boolean {
  return tools.length > 0 && (toolChoice?.type === 'required' || toolChoice?.type === 'tool')
}

type ToolParams = Pick<ChatOptions, 'tools' | 'toolChoice'>

function toolsOf(call: LanguageModelV4CallOptions, warnings: Warnings): ToolParams {
  const { tools = [], toolChoice, responseFormat } = call
  const isEnforced = isCallEnforced(call) || responseFormat?.type === 'json'
  const functions = tools.flatMap(tool => {
    if (tool.type === 'function') {
      if (tool.strict && !isEnforced) {
        warnings.unsupported(
          'strict',
          "calls are enforced with toolChoice 'required' or a named tool, and beside JSON output",
        )
      }
      return [functionOf(tool, warnings)]
    }
    warnings.unsupported(`tool ${tool.id}`, 'a tool that another provider defines')
    return []
  })
  return functions.length === 0 ? {} : { tools: functions, ...(toolChoice && { toolChoice: choiceOf(toolChoice) }) }
}

function functionOf(tool: LanguageModelV4FunctionTool, warnings: Warnings): Tool {
  const { name, description, inputSchema, inputExamples } = tool
  if (inputExamples?.length) warnings.unsupported('inputExamples', 'chat templates have no place for them')
  return { type: 'function', function: { name, ...(description && { description }), parameters: inputSchema } }
}

function choiceOf(choice: LanguageModelV4ToolChoice): ChatOptions['toolChoice'] {
  return choice.type === 'tool' ? { name: choice.toolName } : choice.type
}

/** The given fields that have a value. */
function pick(properties: Record<string, unknown>, names: readonly string[]): Record<string, unknown> {
  return present(Object.fromEntries(names.map(name => [name, properties[name]])))
}

function present<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null)) as T
}
