// A result of the engine in the fields of the AI SDK.

import type { MlxContent, MlxFinishReason, MlxJson, MlxProviderMetadata, MlxUsage } from '../../ai-sdk'
import type { GenerateResult, Usage } from '../../index'

/** The parts of a whole answer. */
export function contentOf({ reasoning, text, toolCalls = [] }: GenerateResult): MlxContent[] {
  return [
    ...(reasoning ? [{ type: 'reasoning' as const, text: reasoning }] : []),
    ...(text !== '' ? [{ type: 'text' as const, text }] : []),
    ...toolCalls.map(({ id, function: { name, arguments: args } }) => ({
      type: 'tool-call' as const,
      toolCallId: id,
      toolName: name,
      input: JSON.stringify(args),
    })),
  ]
}

export function finishReasonOf({ finishReason }: Pick<GenerateResult, 'finishReason'>): MlxFinishReason {
  return { unified: finishReason === 'cancelled' ? 'other' : finishReason, raw: finishReason }
}

/** The end of an answer that failed. */
export const FAILED: MlxFinishReason = { unified: 'error', raw: undefined }

/** The token counts of a request; those of one that failed before its generation started are unknown. */
export function usageOf(usage: Usage | undefined): MlxUsage {
  if (usage === undefined) {
    return {
      inputTokens: { total: undefined, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
      outputTokens: { total: undefined, text: undefined, reasoning: undefined },
    }
  }
  const { inputTokens, cachedInputTokens, outputTokens, reasoningTokens } = usage
  return {
    inputTokens: {
      total: inputTokens,
      noCache: inputTokens - cachedInputTokens,
      cacheRead: cachedInputTokens,
      cacheWrite: undefined,
    },
    outputTokens: { total: outputTokens, text: outputTokens - reasoningTokens, reasoning: reasoningTokens },
    raw: { ...usage },
  }
}

/** What the engine says about an answer and the AI SDK has no field for. */
export function metadataOf(result: GenerateResult): MlxProviderMetadata {
  const { served, seed, timings, sharedFrom, logprobs, warnings } = result
  const optional = { sharedFrom, logprobs, warnings }
  const present = Object.entries(optional).filter(([, value]) => value !== undefined)
  return {
    mlx: { served, seed, timings: { ...timings }, ...(Object.fromEntries(present) as { [key: string]: MlxJson }) },
  }
}
