// Different prompts of 32 tokens, each as text and as the token ids of that text: sides take one or the other. Seeded, so that
// every run has the same prompts.

import mlxServing from '../dist/index.js'
import { DEMO } from './models.mjs'

const NUM_PROMPT_TOKENS = 32
/** Far more than mlx_lm.server caches, so that no side gets a prompt that it has cached. */
const NUM_PROMPTS = 320
const VOCAB_SIZE = 1024
const COUNTRIES = ['France', 'Japan', 'Peru', 'Kenya', 'Norway', 'Egypt', 'Canada', 'Greece', 'India', 'Spain']

/**
 * A function that takes the next prompts, and starts over at the end of the list. Prompts of random models are numbered
 * words; prompts of other models are questions in the tokens of the model in `folder`.
 */
export async function promptsFor(model, folder = DEMO) {
  const prompts = ['demo', 'real'].includes(model) ? await questionPrompts(folder) : numberedPrompts()
  let taken = 0
  return count => Array.from({ length: count }, () => prompts[taken++ % prompts.length])
}

/** The tokenizer of the random models has a word "t<id>" for each token. */
function numberedPrompts() {
  const random = generator(1)
  return Array.from({ length: NUM_PROMPTS }, () => {
    const tokens = Array.from({ length: NUM_PROMPT_TOKENS }, () => random(VOCAB_SIZE))
    return { tokens, text: tokens.map(token => `t${token}`).join(' ') }
  })
}

/** Questions of the demo model's domain, cut to length. */
async function questionPrompts(folder) {
  const random = generator(2)
  const engine = await mlxServing.createEngine({ backend: { simulated: 'instant' } })
  const model = await engine.loadModel(folder)
  const prompts = []
  while (prompts.length < NUM_PROMPTS) {
    let text = Array.from({ length: NUM_PROMPT_TOKENS }, () => question(random)).join(' ')
    let tokens = await engine.tokenize({ model, text })
    while (tokens.length > NUM_PROMPT_TOKENS) {
      const surplus = tokens.length - NUM_PROMPT_TOKENS
      text = text.slice(0, -Math.max(1, Math.floor(surplus / 2)))
      tokens = await engine.tokenize({ model, text })
    }
    if (tokens.length === NUM_PROMPT_TOKENS) prompts.push({ tokens: [...tokens], text })
  }
  await engine.dispose()
  return prompts
}

function question(random) {
  const kinds = [
    () => `What is ${random(100)} + ${random(100)}?`,
    () => `What is the capital of ${COUNTRIES[random(COUNTRIES.length)]}?`,
    () => `Which is larger, ${random(100)} or ${random(100)}?`,
  ]
  return kinds[random(kinds.length)]()
}

/** Integers below a bound (mulberry32). */
export function generator(seed) {
  let state = seed
  return bound => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound
  }
}
