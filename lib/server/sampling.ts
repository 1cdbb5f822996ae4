// The fields that the APIs of OpenAI have in common: sampling, structured output, tools and reasoning.

import type { ChatOptions, GenerateParams, SamplingOptions, Structured, Tool } from '../../index'
import { IGNORED_STOPS, isFormEnforced } from '../structured'
import type { Exchange } from './exchange'
import { type Fields, wrong } from './fields'

const MAX_TOKENS: [number, number] = [1, Number.MAX_SAFE_INTEGER]

/** Sampling params that OpenAI has, and those of vLLM's and llama.cpp's servers that clients send beside them. */
export function readSampling(fields: Fields): Omit<SamplingOptions, 'model'> {
  return {
    temperature: fields.number('temperature', [0, 2]),
    topP: readTopP(fields),
    topK: fields.integer('top_k', [0, Number.MAX_SAFE_INTEGER]),
    minP: fields.number('min_p', [0, 1]),
    repetitionPenalty: fields.number('repetition_penalty', [0.01, 10]),
    presencePenalty: fields.number('presence_penalty', [-2, 2]),
    frequencyPenalty: fields.number('frequency_penalty', [-2, 2]),
    logitBias: fields.plain('logit_bias') as Record<number, number> | undefined,
    seed: fields.integer('seed', [0, Number.MAX_SAFE_INTEGER]),
    n: fields.integer('n', [1, 128]),
    ignoreEos: fields.flag('ignore_eos'),
    minTokens: fields.integer('min_tokens', [0, Number.MAX_SAFE_INTEGER]),
    stopSequences: fields.texts('stop'),
  }
}

/** Some clients send 0 to select the most probable token. The engine takes only values above 0. */
export function readTopP(fields: Fields): number | undefined {
  const topP = fields.number('top_p', [0, 1])
  return topP === 0 ? Number.MIN_VALUE : topP
}

/** The number of tokens under the first of these names that has one. */
export function readMaxTokens(fields: Fields, names: readonly string[]): number | undefined {
  const given = names.map(name => fields.integer(name, MAX_TOKENS))
  return given.find(value => value !== undefined)
}

/** Fields of OpenAI that concern its own service. They change nothing here. */
export function ignoreService(fields: Fields): void {
  fields.only('store', [true, false])
  for (const name of [
    'user',
    'metadata',
    'service_tier',
    'prompt_cache_key',
    'prompt_cache_retention',
    'safety_identifier',
  ]) {
    fields.raw(name)
  }
}

/** `response_format`, or `text.format` of the Responses API, which has the schema one level higher. */
export function readFormat(format: Fields | undefined): Structured | undefined {
  if (format === undefined) return undefined
  const type = format.need('type', format.oneOf('type', ['text', 'json_object', 'json_schema']))
  if (type === 'text') return undefined
  if (type === 'json_object') return { schema: { type: 'object' } }
  const holder = format.object('json_schema') ?? format
  return { schema: holder.need('schema', holder.plain('schema')) }
}

/** A tool of OpenAI's chat completions. */
export function readTool(tool: Fields): Tool {
  tool.need('type', tool.oneOf('type', ['function']))
  const called = tool.need('function', tool.object('function'))
  return toolOf(called)
}

/** A tool from the fields of its function. */
export function toolOf(called: Fields, schemaName = 'parameters'): Tool {
  const name = called.need('name', called.text('name'))
  const description = called.text('description')
  const parameters = called.plain(schemaName)
  return {
    type: 'function',
    function: { name, ...(description !== undefined && { description }), ...(parameters && { parameters }) },
  }
}

/** Tools and how they may be used. Without tools, a choice that requires a call is an error; the other fields have no effect. */
export function toolOptions(
  tools: readonly Tool[],
  choice: ChatOptions['toolChoice'],
  isParallel: boolean | undefined,
): ChatOptions {
  if (tools.length === 0) {
    if (choice === 'required' || typeof choice === 'object') throw wrong('tool_choice', 'needs `tools`')
    return {}
  }
  return { tools, toolChoice: choice, parallelToolCalls: isParallel }
}

/** `tool_choice`, with the name of the function where the API has it. */
export function readToolChoice(fields: Fields, nameOf: (choice: Fields) => string): ChatOptions['toolChoice'] {
  const value = fields.raw('tool_choice')
  if (typeof value !== 'object')
    return fields.oneOf<'auto' | 'none' | 'required'>('tool_choice', ['auto', 'none', 'required'])
  const choice = fields.need('tool_choice', fields.object('tool_choice'))
  choice.need('type', choice.oneOf('type', ['function']))
  return { name: nameOf(choice) }
}

type MayStop = Pick<GenerateParams, 'stopSequences' | 'structured'> & Pick<ChatOptions, 'toolChoice'>

/** Leaves out stop sequences that could cut an answer whose form is enforced. The engine refuses them. */
export function withoutCuts<Params extends MayStop>(exchange: Exchange, params: Params): Params {
  const { stopSequences = [] } = params
  if (stopSequences.length === 0 || !isFormEnforced(params)) return params
  exchange.warn(IGNORED_STOPS)
  return { ...params, stopSequences: [] }
}

const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const

/** Variables of the chat template for an effort, under the names that templates use. */
export function effortVariables(fields: Fields | undefined, name: string): Record<string, unknown> {
  const effort = fields?.oneOf(name, EFFORTS)
  if (effort === undefined) return {}
  return { reasoning_effort: effort, enable_thinking: effort !== 'none' }
}
