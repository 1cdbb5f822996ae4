// The attributes of a generation's span, by the semantic conventions of OpenTelemetry for generative AI. Names that they do not
// have begin with `mlx_serving`. Nothing here is text of a prompt or an answer.

import type { Attributes } from '@opentelemetry/api'
import type { GenerateResult, GenerationStartedEvent } from '../../index'

const FINISH_REASONS = 'gen_ai.response.finish_reasons'

/** Params that are numbers, and their attributes. */
const NUMBERS = {
  maxTokens: 'gen_ai.request.max_tokens',
  temperature: 'gen_ai.request.temperature',
  topP: 'gen_ai.request.top_p',
  topK: 'gen_ai.request.top_k',
  frequencyPenalty: 'gen_ai.request.frequency_penalty',
  presencePenalty: 'gen_ai.request.presence_penalty',
  seed: 'gen_ai.request.seed',
} as const

/** The name of the span, and what is known at its start. The params were not checked yet. */
export function ofRequest({ model, params }: GenerationStartedEvent): { name: string; attributes: Attributes } {
  const operation = params.messages === undefined ? 'text_completion' : 'chat'
  const attributes: Attributes = {
    'gen_ai.operation.name': operation,
    'gen_ai.provider.name': 'mlx-serving',
    'gen_ai.request.model': model,
    'gen_ai.output.type': params.structured && 'schema' in params.structured ? 'json' : 'text',
  }
  for (const [param, attribute] of Object.entries(NUMBERS)) {
    const value = params[param as keyof typeof NUMBERS]
    if (typeof value === 'number') attributes[attribute] = value
  }
  if (typeof params.n === 'number' && params.n !== 1) attributes['gen_ai.request.choice.count'] = params.n
  return { name: `${operation} ${model}`, attributes }
}

export function ofResult(result: GenerateResult): Attributes {
  const { usage, timings, choices = [result] } = result
  const total = (count: (usage: GenerateResult['usage']) => number) =>
    choices.reduce((sum, choice) => sum + count(choice.usage), 0)
  return {
    'gen_ai.response.id': result.id,
    [FINISH_REASONS]: choices.map(({ finishReason }) => finishReason.replace('-', '_')),
    // All answers have the same prompt.
    'gen_ai.usage.input_tokens': usage.inputTokens,
    'gen_ai.usage.cache_read.input_tokens': usage.cachedInputTokens,
    'gen_ai.usage.output_tokens': total(({ outputTokens }) => outputTokens),
    'gen_ai.usage.reasoning.output_tokens': total(({ reasoningTokens }) => reasoningTokens),
    'gen_ai.response.time_to_first_chunk': timings.ttftMs / 1000,
    'mlx_serving.served': result.served,
  }
}

/** A generation that its caller has left. */
export function cancelled(): Attributes {
  return { [FINISH_REASONS]: ['cancelled'] }
}
