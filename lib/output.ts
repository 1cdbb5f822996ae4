// The parsed output of an answer in its public shape: reasoning, tool calls and warnings. The addon parses; empty fields are
// absent.

import type { GenerateChunk, GeneratedToolCall, GenerateResult, ToolCallDelta } from '../index'
import type { NativeCallDelta, NativeParsedDelta, NativeResult } from './native'

type ParsedDelta = Pick<GenerateChunk, 'reasoning' | 'toolCalls'>

/** The new reasoning and tool calls of a chunk. */
export function parsedDelta({ reasoning, calls }: NativeParsedDelta): ParsedDelta {
  return withoutEmpty(reasoning, calls.map(callDelta))
}

/** The reasoning and tool calls of a whole answer that is delivered as one chunk. */
export function wholeDelta({ reasoning = '', toolCalls = [] }: GenerateResult): ParsedDelta {
  const delta = ({ id, function: { name, arguments: value } }: GeneratedToolCall, index: number) => {
    return { index, id, name, argumentsDelta: JSON.stringify(value) }
  }
  return withoutEmpty(reasoning, toolCalls.map(delta))
}

/** The parsed output of a whole answer besides its text. */
export function parsedOutput({ reasoning, calls, warnings }: NativeResult): Partial<GenerateResult> {
  return {
    ...(reasoning !== undefined && { reasoning }),
    ...(calls !== undefined && { toolCalls: calls.map(toolCall) }),
    ...(warnings !== undefined && { warnings }),
  }
}

function withoutEmpty(reasoning: string, toolCalls: ToolCallDelta[]): ParsedDelta {
  return { ...(reasoning !== '' && { reasoning }), ...(toolCalls.length > 0 && { toolCalls }) }
}

function callDelta({ index, id, name, arguments: argumentsDelta, isWithdrawn }: NativeCallDelta): ToolCallDelta {
  const identity = id !== undefined && name !== undefined && { id, name }
  return { index, ...identity, argumentsDelta, ...(isWithdrawn && { isWithdrawn }) }
}

function toolCall({ id, name, arguments: text }: { id: string; name: string; arguments: string }): GeneratedToolCall {
  return { id, type: 'function', function: { name, arguments: JSON.parse(text) } }
}
