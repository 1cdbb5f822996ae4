// Log-probabilities as users have them, out of the packed arrays in which they cross.

import type { TokenLogprob } from '../index'
import type { NativeLogprobs } from './native'

type Top = TokenLogprob['top'][number]

/** Packed log-probabilities of pieces of answers, which are taken in their order. */
export class Logprobs {
  readonly #packed: NativeLogprobs
  #piece = 0
  #next = 0

  constructor(packed: NativeLogprobs) {
    this.#packed = packed
  }

  /** Those of the next piece, which has so many tokens; nothing where its reader did not ask. */
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
