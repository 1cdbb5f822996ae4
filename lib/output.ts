// The output of an answer in its public shape: its pieces, reasoning, tool calls, usage and warnings. The addon parses; empty
// fields are absent.

import type { GenerateChunk, GeneratedToolCall, GenerateResult, ToolCallDelta, Usage } from '../index'
import type { NativeCall, NativeCallDelta, NativeParsedDelta, NativeResult, NativeUsage } from './native'

/** New output of an answer: a chunk without the index of the answer. */
export type Piece = Omit<GenerateChunk, 'index'>

type Parsed = Pick<GenerateChunk, 'reasoning' | 'toolCalls'>

/** The new reasoning and tool calls of a chunk. */
export function parsedDelta({ reasoning, calls }: NativeParsedDelta): Parsed {
  return withoutEmpty(reasoning, calls.map(callDelta))
}

/**
 * A whole answer as pieces: usually one, more if text follows a tool call. `textBefore` has the length of the text before
 * each call.
 */
export function wholePieces(result: GenerateResult, textBefore: readonly number[]): Piece[] {
  const { text, reasoning = '', tokens, logprobs, finishReason } = result
  const parts = partsOf(result, textBefore)
  return parts.map(({ start, calls }, index) => {
    const isLast = index === parts.length - 1
    const piece = isLast ? { text, tokens: tokens.slice(), ...(logprobs && { logprobs }) } : emptyPiece(logprobs)
    const output = withoutEmpty(index === 0 ? reasoning : '', calls)
    return { ...piece, text: text.slice(start, parts[index + 1]?.start), ...output, ...(isLast && { finishReason }) }
  })
}

/** The last piece of an answer whose output was passed on before. */
export function lastPiece({ logprobs, finishReason }: GenerateResult): Piece {
  return { ...emptyPiece(logprobs), finishReason }
}

/** The parsed output of a whole answer besides its text. */
export function parsedOutput({ reasoning, calls, warnings }: NativeResult): Partial<GenerateResult> {
  return {
    ...(reasoning !== undefined && { reasoning }),
    ...(calls !== undefined && { toolCalls: calls.map(toolCall) }),
    ...(warnings !== undefined && { warnings }),
  }
}

/** The token counts of a request. */
export function usageOf(native: NativeUsage): Usage {
  const { inputTokens, cachedInputTokens, outputTokens, cachedOutputTokens, reasoningTokens } = native
  const totalTokens = inputTokens + outputTokens
  return { inputTokens, cachedInputTokens, outputTokens, cachedOutputTokens, reasoningTokens, totalTokens }
}

/** Parts of a whole answer in which text comes before calls: the start of the text, and the calls. */
function partsOf({ text, toolCalls = [] }: GenerateResult, textBefore: readonly number[]) {
  const parts: { start: number; calls: ToolCallDelta[] }[] = [{ start: 0, calls: [] }]
  let read = 0
  toolCalls.forEach((call, index) => {
    const last = parts[parts.length - 1]
    if (textBefore[index] > read && last.calls.length > 0) parts.push({ start: read, calls: [wholeCall(call, index)] })
    else last.calls.push(wholeCall(call, index))
    read = textBefore[index]
  })
  if (toolCalls.length > 0 && read < text.length) parts.push({ start: read, calls: [] })
  return parts
}

/** A piece without tokens. It has log-probabilities if the answer has some. */
function emptyPiece(logprobs: GenerateResult['logprobs']): Piece {
  return { text: '', tokens: new Uint32Array(), ...(logprobs && { logprobs: [] }) }
}

function withoutEmpty(reasoning: string, toolCalls: ToolCallDelta[]): Parsed {
  return { ...(reasoning !== '' && { reasoning }), ...(toolCalls.length > 0 && { toolCalls }) }
}

function callDelta(delta: NativeCallDelta): ToolCallDelta {
  const { index, id, name, arguments: argumentsDelta, isWithdrawn, isComplete } = delta
  const identity = id !== undefined && name !== undefined && { id, name }
  const end = { ...(isWithdrawn && { isWithdrawn }), ...(isComplete && { isComplete }) }
  return { index, ...identity, argumentsDelta, ...end }
}

function wholeCall({ id, function: { name, arguments: value } }: GeneratedToolCall, index: number): ToolCallDelta {
  return { index, id, name, argumentsDelta: JSON.stringify(value), isComplete: true }
}

function toolCall({ id, name, arguments: text }: NativeCall): GeneratedToolCall {
  return { id, type: 'function', function: { name, arguments: JSON.parse(text) } }
}
