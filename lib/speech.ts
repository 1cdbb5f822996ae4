// What an answer says besides text, as users see it: reasoning, calls of functions, warnings. The addon has read it; here it
// gets its shape. A field is there only if there is something in it.

import type { GenerateChunk, GeneratedToolCall, GenerateResult, ToolCallDelta } from '../index'
import type { NativeCallDelta, NativeResult, NativeSaid } from './native'

type Said = Pick<GenerateChunk, 'reasoning' | 'toolCalls'>

/** What came with a piece. */
export function saidOf({ reasoning, calls }: NativeSaid): Said {
  return filled(reasoning, calls.map(deltaOf))
}

/** What a whole answer would have said as its only piece. */
export function saidIn({ reasoning = '', toolCalls = [] }: GenerateResult): Said {
  const delta = ({ id, function: { name, arguments: value } }: GeneratedToolCall, index: number) => {
    return { index, id, name, argumentsDelta: JSON.stringify(value) }
  }
  return filled(reasoning, toolCalls.map(delta))
}

/** What is beside the text of a whole answer. */
export function spokenOf({ reasoning, calls, warnings }: NativeResult): Partial<GenerateResult> {
  return {
    ...(reasoning !== undefined && { reasoning }),
    ...(calls !== undefined && { toolCalls: calls.map(callOf) }),
    ...(warnings !== undefined && { warnings }),
  }
}

function filled(reasoning: string, toolCalls: ToolCallDelta[]): Said {
  return { ...(reasoning !== '' && { reasoning }), ...(toolCalls.length > 0 && { toolCalls }) }
}

function deltaOf({ index, id, name, arguments: argumentsDelta, isWithdrawn }: NativeCallDelta): ToolCallDelta {
  const identity = id !== undefined && name !== undefined && { id, name }
  return { index, ...identity, argumentsDelta, ...(isWithdrawn && { isWithdrawn }) }
}

function callOf({ id, name, arguments: text }: { id: string; name: string; arguments: string }): GeneratedToolCall {
  return { id, type: 'function', function: { name, arguments: JSON.parse(text) } }
}
