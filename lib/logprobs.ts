// Unpacks log-probabilities, with the texts of their tokens, from the arrays of the addon.

import type { TokenLogprob } from '../index'
import type { NativeLogprobs } from './native'

type Top = TokenLogprob['top'][number]

/** Packed log-probabilities of several pieces of answers. The pieces are taken in order. */
export class Logprobs {
  readonly #packed: NativeLogprobs
  #piece = 0
  #next = 0
  #unit = 0
  #byte = 0

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
    const { tokens, values, texts, bytes, sizes } = this.#packed
    const index = this.#next++
    const [unit, byte] = [this.#unit, this.#byte]
    this.#unit += sizes[2 * index]
    this.#byte += sizes[2 * index + 1]
    const entry = { tokenId: tokens[index], token: texts.slice(unit, this.#unit), logprob: values[index] }
    return this.#byte > byte ? { ...entry, bytes: Array.from(bytes.subarray(byte, this.#byte)) } : entry
  }
}
