// An answer in the pieces that the APIs stream: text, reasoning, whole tool calls and the end. A tool call is held until it is
// complete, because a call that turns out to be malformed or repeated does not count, and no API can take it back.

import type { GenerateChunk, GenerateResult, TokenLogprob, ToolCallDelta } from '../../index'

export interface Call {
  readonly id: string
  readonly name: string
  /** The arguments as JSON text. */
  readonly arguments: string
}

export interface Piece {
  /** The index of the answer among `n` answers. */
  readonly index: number
  readonly reasoning: string
  readonly text: string
  readonly calls: readonly Call[]
  readonly logprobs: readonly TokenLogprob[] | undefined
  readonly finishReason: GenerateResult['finishReason'] | undefined
}

/** Makes pieces of the chunks of an answer, or of several answers. */
export class Pieces {
  readonly #pending = new Map<number, PendingCalls>()

  /** The piece of a chunk; `undefined` if there is nothing in it. */
  of({ index, text, reasoning = '', toolCalls, logprobs, finishReason }: GenerateChunk): Piece | undefined {
    const piece = { index, reasoning, text, calls: this.#complete(index, toolCalls), logprobs, finishReason }
    return hasContent(piece) ? piece : undefined
  }

  #complete(index: number, deltas: readonly ToolCallDelta[] | undefined): readonly Call[] {
    if (deltas === undefined) return NO_CALLS
    const calls = this.#pending.get(index) ?? new PendingCalls()
    this.#pending.set(index, calls)
    return calls.take(deltas)
  }
}

const NO_CALLS: readonly Call[] = []

function hasContent({ reasoning, text, calls, logprobs = [], finishReason }: Piece): boolean {
  return reasoning !== '' || text !== '' || calls.length > 0 || logprobs.length > 0 || finishReason !== undefined
}

/** The calls of one answer that are not complete. */
class PendingCalls {
  readonly #calls = new Map<number, Call>()

  /** Adds deltas, and returns the calls that they complete. */
  take(deltas: readonly ToolCallDelta[]): Call[] {
    const complete: Call[] = []
    for (const { index, id, name, argumentsDelta, isComplete, isWithdrawn } of deltas) {
      const begun = this.#calls.get(index) ?? { id: id ?? '', name: name ?? '', arguments: '' }
      const call = { ...begun, arguments: begun.arguments + argumentsDelta }
      if (isComplete) complete.push(call)
      if (isComplete || isWithdrawn) this.#calls.delete(index)
      else this.#calls.set(index, call)
    }
    return complete
  }
}

/** The calls of a whole answer. */
export function callsOf({ toolCalls = [] }: GenerateResult): Call[] {
  return toolCalls.map(({ id, function: called }) => ({
    id,
    name: called.name,
    arguments: JSON.stringify(called.arguments),
  }))
}
