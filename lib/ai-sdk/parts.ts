// The chunks of one answer as parts of a stream of the AI SDK. There, each text, reasoning and input of a tool call is a block
// with a start, pieces and an end; blocks of text and reasoning follow each other.

import type { MlxStreamPart } from '../../ai-sdk'
import type { GenerateChunk, ToolCallDelta } from '../../index'

interface Block {
  kind: 'text' | 'reasoning'
  id: string
}

interface Call {
  id: string
  name: string
  input: string
}

export class Parts {
  #open: Block | undefined
  #blocks = 0
  readonly #calls = new Map<number, Call>()

  /** The parts of the next chunk, in the order in which the model wrote: reasoning, text, tool calls. */
  of({ reasoning = '', text, toolCalls = [] }: GenerateChunk): MlxStreamPart[] {
    return [
      ...this.#write('reasoning', reasoning),
      ...this.#write('text', text),
      ...toolCalls.flatMap(delta => this.#call(delta)),
    ]
  }

  /** Ends what is open. */
  end(): MlxStreamPart[] {
    const calls = [...this.#calls.values()]
    this.#calls.clear()
    return [...this.#close(), ...calls.map(({ id }) => ({ type: 'tool-input-end' as const, id }))]
  }

  #write(kind: Block['kind'], delta: string): MlxStreamPart[] {
    if (delta === '') return []
    const start = this.#open?.kind === kind ? [] : this.#start(kind)
    return [...start, { type: `${kind}-delta`, id: (this.#open as Block).id, delta }]
  }

  #start(kind: Block['kind']): MlxStreamPart[] {
    const closed = this.#close()
    this.#open = { kind, id: `${kind}-${this.#blocks++}` }
    return [...closed, { type: `${kind}-start`, id: this.#open.id }]
  }

  #close(): MlxStreamPart[] {
    if (this.#open === undefined) return []
    const { kind, id } = this.#open
    this.#open = undefined
    return [{ type: `${kind}-end`, id }]
  }

  /**
   * The parts of a piece of a call. The AI SDK accepts a call only with its last part, `tool-call`. A withdrawn call has no such
   * part; the text of a malformed call follows as text.
   */
  #call({ index, id, name, argumentsDelta, isComplete, isWithdrawn }: ToolCallDelta): MlxStreamPart[] {
    const parts: MlxStreamPart[] = []
    if (id !== undefined && name !== undefined) {
      parts.push(...this.#close(), { type: 'tool-input-start', id, toolName: name })
      this.#calls.set(index, { id, name, input: '' })
    }
    const call = this.#calls.get(index)
    if (call === undefined) return parts
    if (argumentsDelta !== '') parts.push({ type: 'tool-input-delta', id: call.id, delta: argumentsDelta })
    call.input += argumentsDelta
    if (isComplete || isWithdrawn) {
      this.#calls.delete(index)
      parts.push({ type: 'tool-input-end', id: call.id })
    }
    if (isComplete) parts.push({ type: 'tool-call', toolCallId: call.id, toolName: call.name, input: call.input })
    return parts
  }
}
