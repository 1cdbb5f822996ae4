// `createGenerator`: an answer as one item for each token. The work starts with the first `next()`, as with every async
// generator, so that one which is made and dropped costs nothing.

import type { GeneratorItem } from '../index'
import type { Answer } from './answer'

export async function* itemsOf(start: () => Answer): AsyncGenerator<GeneratorItem, void, undefined> {
  const answer = start()
  try {
    for (;;) {
      const step = await answer.next()
      if (step.done) break
      const { text, tokens } = step.value
      const last = tokens.length - 1
      for (let i = 0; i <= last; i++) {
        // The text of a chunk became whole with its last token.
        yield { type: 'token', token: i < last ? '' : text, tokenId: tokens[i], isFinal: i === last && answer.isRead }
      }
    }
    const { text: _text, tokens: _tokens, ...stats } = await answer.promise()
    yield { type: 'metadata', stats }
  } finally {
    answer.close()
  }
}
