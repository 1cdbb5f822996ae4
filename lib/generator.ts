// `createGenerator`: an answer as one item for each token. The work starts with the first `next()`, as with every async
// generator, so that one which is made and dropped costs nothing.

import type { GeneratorItem } from '../index'
import type { Answer } from './answer'

/** Starts with the first `next()`; leaving early ends the work. */
export async function* itemsOf(start: () => Answer): AsyncGenerator<GeneratorItem, void, undefined> {
  const answer = start()
  let tokenId = 0
  try {
    for (;;) {
      const step = await answer.next()
      if (step.done) break
      const { text, tokens } = step.value
      for (let i = 0; i < tokens.length - 1; i++) yield { type: 'token', token: '', tokenId: tokens[i], isFinal: false }
      // The text of a chunk became whole with its last token; one without tokens brings what was held back at the end.
      tokenId = tokens.at(-1) ?? tokenId
      yield { type: 'token', token: text, tokenId, isFinal: answer.isRead }
    }
    const { text: _text, tokens: _tokens, ...stats } = await answer.promise()
    yield { type: 'metadata', stats }
  } finally {
    answer.close()
  }
}
