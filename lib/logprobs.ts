// Unpacks log-probabilities from the arrays of the addon.

import type { TokenLogprob } from '../index'
import type { NativeLogprobs } from './native'

type Top = TokenLogprob['top'][number]

/** Packed log-probabilities of several pieces of answers. The pieces are taken in order. */
export class Logprobs {
  readonly #packed: NativeLogprobs
  #piece = 0
  #next = 0

  constructor(packed: NativeLogprobs) {
    this.#packed = packed
  }

  /** The log-probabilities of the next piece, which has `numTokens` tokens; `undefined` if its request has none. */
  take(numTokens: number): TokenLogprob[] | undefined {
    const perToken = this.#packed.perToken[this.#piece++]
    if (perToken === 0) return undefined
    return Array.from({ length: numTokens }, () => {
      const own = this.#one()
      return { ...own, top: Array.from({ length: perToken - 1 }, () => this.#one()) }
    })
  }

  #one(): Top {
    const index = this.#next++
    return { token: this.#packed.tokens[index], logprob: this.#packed.values[index] }
  }
}
