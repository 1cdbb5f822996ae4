// `createGenerator`: an answer as one item for each token. The work starts with the first `next()`, as for every async
// generator.

import type { GeneratorItem, TokenLogprob } from '../index'
import { Answer, type Source } from './answer'
import { invalid } from './errors'
import { Handle } from './handle'

type Step = IteratorResult<GeneratorItem, void>

/** `return()` and `throw()` end the work at once. Those of a plain async generator would first wait for pending reads. */
export class Items implements AsyncGenerator<GeneratorItem, void, undefined> {
  readonly #items: AsyncGenerator<GeneratorItem, void, undefined>
  #handle: Handle | undefined
  #isLeft = false

  constructor(start: () => Source) {
    this.#items = this.#itemsOf(start)
  }

  next(): Promise<Step> {
    return this.#items.next()
  }

  return(value?: void | PromiseLike<void>): Promise<Step> {
    this.#leave()
    return this.#items.return(value)
  }

  throw(error: unknown): Promise<Step> {
    this.#leave()
    return this.#items.throw(error)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  get [Symbol.toStringTag](): string {
    return 'AsyncGenerator'
  }

  /** Ends the work. Pending reads get the end. */
  #leave(): void {
    this.#isLeft = true
    this.#handle?.source.close()
  }

  async *#itemsOf(start: () => Source): AsyncGenerator<GeneratorItem, void, undefined> {
    const answer = alone(start())
    this.#handle = new Handle(answer)
    let tokenId = 0
    let text = ''
    try {
      for (;;) {
        const step = await answer.next()
        if (step.done) break
        const { tokens, logprobs, finishReason } = step.value
        const isFinal = finishReason !== undefined
        text += step.value.text
        // Of chunks that were split at a tool call only the last one has the tokens.
        if (tokens.length === 0 && (!isFinal || text === '')) continue
        for (let i = 0; i < tokens.length - 1; i++) {
          yield { type: 'token', tokenId: tokens[i], token: '', ...logprobOf(logprobs?.[i]), isFinal: false }
        }
        // The text of a chunk is complete with its last token. A last chunk without tokens has text that was held back.
        tokenId = tokens.at(-1) ?? tokenId
        yield { type: 'token', tokenId, token: text, ...logprobOf(logprobs?.at(-1)), isFinal }
        text = ''
      }
      if (this.#isLeft) return
      const { text: _text, tokens: _tokens, logprobs: _logprobs, ...result } = await answer.promise()
      yield { type: 'metadata', result }
    } finally {
      answer.close()
    }
  }
}

/** The log-probabilities of a token as fields of its item, if they were requested. */
function logprobOf(entry: TokenLogprob | undefined): Partial<Pick<TokenLogprob, 'logprob' | 'top'>> {
  return entry ? { logprob: entry.logprob, top: entry.top } : {}
}

/** The only answer of a source. Several answers are refused, as items have no index. */
function alone(source: Source): Answer {
  if (source instanceof Answer) return source
  const error = invalid('n', 'must be 1 for createGenerator(); use generate() for several answers')
  source.abandon(error)
  throw error
}
