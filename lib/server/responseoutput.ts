// The output of /v1/responses: items of reasoning, text and tool calls, and the events with which a stream builds them.

import type { TokenLogprob } from '../../index'
import { logprobsOf } from './chat'
import { newId } from './exchange'
import type { Call, Piece } from './pieces'

/** An event without its number. */
export interface ResponseEvent {
  readonly type: string
  readonly [field: string]: unknown
}

type Status = 'completed' | 'incomplete'

/** Items are opened, filled and closed, one after another. */
export class ResponseOutput {
  /** The closed items. */
  readonly items: object[] = []
  #open: OpenItem | undefined
  /** Of tokens whose text has not come: a character can have several tokens, and white space may be held. */
  readonly #logprobs: TokenLogprob[] = [];

  /** Adds a piece of the answer. */
  *add({ reasoning, text, calls, logprobs = [] }: Piece): Generator<ResponseEvent> {
    // One by one: a whole answer may have more than a call takes arguments.
    for (const logprob of logprobs) this.#logprobs.push(logprob)
    if (reasoning !== '') yield* this.#write(ReasoningItem, reasoning)
    if (text !== '') yield* this.#write(MessageItem, text)
    for (const call of calls) yield* this.#call(call)
  }

  /** Ends the answer, which has an item in any case. */
  *end(status: Status): Generator<ResponseEvent> {
    if (this.#open === undefined && this.items.length === 0) yield* this.#write(MessageItem, '')
    yield* this.#close(status)
  }

  *#write(Item: typeof ReasoningItem | typeof MessageItem, text: string): Generator<ResponseEvent> {
    if (!(this.#open instanceof Item)) {
      yield* this.#close('completed')
      this.#open = new Item(this.items.length)
      yield* this.#open.begin()
    }
    if (text !== '') yield this.#open.write(text, this.#takeLogprobs(Item))
  }

  /** Log-probabilities are written with the text of a message. */
  #takeLogprobs(Item: typeof ReasoningItem | typeof MessageItem): readonly TokenLogprob[] {
    return Item === ReasoningItem ? [] : this.#logprobs.splice(0)
  }

  *#close(status: Status): Generator<ResponseEvent> {
    if (this.#open === undefined) return
    yield* this.#open.end(status)
    this.items.push(this.#open.item(status))
    this.#open = undefined
  }

  *#call({ id, name, arguments: text }: Call): Generator<ResponseEvent> {
    yield* this.#close('completed')
    const at = { item_id: newId('fc_'), output_index: this.items.length }
    const itemOf = (status: string, written: string) => ({
      id: at.item_id,
      type: 'function_call',
      status,
      call_id: id,
      name,
      arguments: written,
    })
    yield { type: 'response.output_item.added', output_index: at.output_index, item: itemOf('in_progress', '') }
    yield { type: 'response.function_call_arguments.delta', ...at, delta: text }
    yield { type: 'response.function_call_arguments.done', ...at, name, arguments: text }
    const item = itemOf('completed', text)
    yield { type: 'response.output_item.done', output_index: at.output_index, item }
    this.items.push(item)
  }
}

/** An item with one part of text. */
abstract class OpenItem {
  protected readonly id: string
  protected text = ''
  readonly #index: number
  readonly #logprobs: object[] = []

  constructor(prefix: string, index: number) {
    this.id = newId(prefix)
    this.#index = index
  }

  /** The type of the events of its text. */
  protected abstract readonly kind: string
  protected abstract part(text: string, logprobs: object[]): object
  protected abstract shell(status: string, content: object[]): object

  item(status: string): object {
    return this.shell(status, [this.part(this.text, this.#logprobs)])
  }

  *begin(): Generator<ResponseEvent> {
    yield { type: 'response.output_item.added', output_index: this.#index, item: this.shell('in_progress', []) }
    yield { type: 'response.content_part.added', ...this.#at, part: this.part('', []) }
  }

  write(delta: string, logprobs: readonly TokenLogprob[] = []): ResponseEvent {
    this.text += delta
    const own = (logprobsOf(logprobs) as { content: object[] }).content
    for (const logprob of own) this.#logprobs.push(logprob)
    return { type: `response.${this.kind}.delta`, ...this.#at, delta, logprobs: own }
  }

  *end(status: Status): Generator<ResponseEvent> {
    yield { type: `response.${this.kind}.done`, ...this.#at, text: this.text, logprobs: this.#logprobs }
    yield { type: 'response.content_part.done', ...this.#at, part: this.part(this.text, this.#logprobs) }
    yield { type: 'response.output_item.done', output_index: this.#index, item: this.item(status) }
  }

  get #at() {
    return { item_id: this.id, output_index: this.#index, content_index: 0 }
  }
}

class MessageItem extends OpenItem {
  protected readonly kind = 'output_text'

  constructor(index: number) {
    super('msg_', index)
  }

  protected part(text: string, logprobs: object[]): object {
    return { type: 'output_text', text, annotations: [], logprobs }
  }

  protected shell(status: string, content: object[]): object {
    return { id: this.id, type: 'message', status, role: 'assistant', content }
  }
}

class ReasoningItem extends OpenItem {
  protected readonly kind = 'reasoning_text'

  constructor(index: number) {
    super('rs_', index)
  }

  protected part(text: string): object {
    return { type: 'reasoning_text', text }
  }

  protected shell(status: string, content: object[]): object {
    return { id: this.id, type: 'reasoning', status, summary: [], content }
  }
}
