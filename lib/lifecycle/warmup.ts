// A short request to a model that was just loaded: one prefill and a few steps that decode, so that the kernels are compiled and
// the memory is allocated before a user waits for it.

import { Answer } from '../answer'
import type { Hub } from '../hub'
import type { Known } from './known'

const PROMPT_TOKENS = 16
const ANSWER_TOKENS = 2

export async function warmUp(hub: Hub, model: Known): Promise<void> {
  const room = (model.handle?.contextLength ?? 0) - ANSWER_TOKENS
  if (model.key === undefined || room < 1) return
  // Every vocabulary has token 0.
  const prompt = { tokens: new Array(Math.min(PROMPT_TOKENS, room)).fill(0) }
  const params = { prompt, maxTokens: ANSWER_TOKENS, ignoreEos: true, temperature: 0, cache: 'off' }
  const answerOf = (reader: ConstructorParameters<typeof Answer>[1]) => new Answer(0, reader)
  const [answer] = hub.submit(model.key, { params, options: {}, scripted: undefined }, answerOf)
  await answer.promise()
}
