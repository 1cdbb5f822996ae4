// `createGenerator`: an answer as one item for each token. The work starts with the first `next()`, as with every async
// generator, so that one which is made and dropped costs nothing.

import type { GeneratorItem, TokenLogprob } from '../index'
import { Answer, type Source } from './answer'
import { invalid } from './errors'
import { Handle } from './handle'

type Step = IteratorResult<GeneratorItem, void>

/** Leaving early ends the work at once: a generator of the language would first wait for the reads that are pending. */
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

  /** What reads are pending find the end. */
  #leave(): void {
    this.#isLeft = true
    this.#handle?.source.close()
  }

  async *#itemsOf(start: () => Source): AsyncGenerator<GeneratorItem, void, undefined> {
    const answer = alone(start())
    this.#handle = new Handle(answer)
    let tokenId = 0
    try {
      for (;;) {
        const step = await answer.next()
        if (step.done) break
        const { text, tokens, logprobs } = step.value
        for (let i = 0; i < tokens.length - 1; i++) {
          yield { type: 'token', token: '', tokenId: tokens[i], ...oddsOf(logprobs?.[i]), isFinal: false }
        }
        // The text of a chunk became whole with its last token; one without tokens brings what was held back at the end.
        tokenId = tokens.at(-1) ?? tokenId
        yield { type: 'token', token: text, tokenId, ...oddsOf(logprobs?.at(-1)), isFinal: answer.isRead }
      }
      if (this.#isLeft) return
      const { text: _text, tokens: _tokens, logprobs: _logprobs, ...stats } = await answer.promise()
      yield { type: 'metadata', stats }
    } finally {
      answer.close()
    }
  }
}

/** What an item says of the odds of its token, where they were asked for. */
function oddsOf(odds: TokenLogprob | undefined): Partial<Pick<TokenLogprob, 'logprob' | 'top'>> {
  return odds ? { logprob: odds.logprob, top: odds.top } : {}
}

/** Its items do not say of which answer they are. */
function alone(source: Source): Answer {
  if (source instanceof Answer) return source
  const error = invalid('n', 'must be 1 for createGenerator(); use generate() for several answers')
  source.abandon(error)
  throw error
}
