// Answers of the engine as messages of LangChain.

import type { AIMessageChunkFields, UsageMetadata } from '@langchain/core/messages'
import type { ChatGenerationChunk, ChatResult } from '@langchain/core/outputs'
import type { GenerateChunk, GenerateResult, ToolCallDelta } from '../../index'
import { PROVIDER } from './blocks'
import type { Core } from './core'

/** The part of a request that its answer repeats. */
export interface Asked {
  /** The id of the model. */
  model: string
  /** Options that had no effect. */
  warnings: readonly string[]
}

/** What the engine says about an answer. The names of usage and of the finish reason are those of LangChain. */
function detailsOf(result: GenerateResult, asked: Asked) {
  const { usage, finishReason, served, seed, timings, sharedFrom, logprobs } = result
  const all = [...asked.warnings, ...(result.warnings ?? [])]
  const warnings = all.length > 0 ? all : undefined
  const optional = Object.entries({ sharedFrom, logprobs, warnings }).filter(([, value]) => value !== undefined)
  const counts: UsageMetadata = {
    input_tokens: usage.inputTokens,
    output_tokens: usage.outputTokens,
    total_tokens: usage.totalTokens,
    input_token_details: { cache_read: usage.cachedInputTokens },
    output_token_details: { reasoning: usage.reasoningTokens },
  }
  return {
    // With exact optional properties, TypeScript does not infer LangChain's type of this field.
    usage_metadata: counts as never,
    response_metadata: {
      model_provider: PROVIDER,
      model_name: asked.model,
      finish_reason: finishReason === 'tool-calls' ? 'tool_calls' : finishReason,
      served,
      seed,
      timings: { ...timings },
      ...Object.fromEntries(optional),
    },
  }
}

const reasoningOf = (reasoning: string | undefined) => (reasoning ? { reasoning_content: reasoning } : {})

/** A whole answer. */
export function resultOf(core: Core, result: GenerateResult, asked: Asked): ChatResult {
  const { id, text, reasoning, toolCalls = [] } = result
  const message = new core.AIMessage({
    id,
    content: text,
    additional_kwargs: reasoningOf(reasoning),
    tool_calls: toolCalls.map(({ id, function: { name, arguments: args } }) => ({
      type: 'tool_call' as const,
      id,
      name,
      args: args as Record<string, unknown>,
    })),
    ...detailsOf(result, asked),
  })
  const { usage } = result
  const tokenUsage = {
    promptTokens: usage.inputTokens,
    completionTokens: usage.outputTokens,
    totalTokens: usage.totalTokens,
  }
  return { generations: [{ text, message }], llmOutput: { tokenUsage } }
}

/** The chunks of one streamed answer. */
export class Chunks {
  readonly #core: Core
  readonly #id: string
  /** Calls that are not complete. */
  readonly #calls = new Map<number, { id: string; name: string; args: string }>()

  constructor(core: Core, id: string) {
    this.#core = core
    this.#id = id
  }

  /** The next chunk; `undefined` if there is nothing in it yet. */
  of({ text, reasoning, toolCalls = [] }: GenerateChunk): ChatGenerationChunk | undefined {
    const calls = toolCalls.flatMap(delta => this.#complete(delta))
    if (text === '' && !reasoning && calls.length === 0) return undefined
    return this.#chunk(text, {
      additional_kwargs: reasoningOf(reasoning),
      tool_call_chunks: calls,
      response_metadata: { model_provider: PROVIDER },
    })
  }

  /**
   * The last chunk, with usage and metadata. Sums of chunks join texts of metadata, except the provider, so only one chunk may
   * have them.
   */
  end(result: GenerateResult, asked: Asked): ChatGenerationChunk {
    return this.#chunk('', detailsOf(result, asked))
  }

  #chunk(text: string, fields: Partial<AIMessageChunkFields>): ChatGenerationChunk {
    const message = new this.#core.AIMessageChunk({ id: this.#id, content: text, ...fields })
    return new this.#core.ChatGenerationChunk({ text, message })
  }

  /**
   * The call that this delta completes, as one chunk. LangChain cannot take a chunk back, and completes the JSON of a call that
   * was cut, so it would run a call that turns out to be malformed.
   */
  #complete({ index, id = '', name = '', argumentsDelta, isComplete, isWithdrawn }: ToolCallDelta) {
    const call = this.#calls.get(index) ?? { id, name, args: '' }
    call.args += argumentsDelta
    this.#calls.set(index, call)
    if (isComplete || isWithdrawn) this.#calls.delete(index)
    return isComplete ? [{ type: 'tool_call_chunk' as const, index, ...call }] : []
  }
}
