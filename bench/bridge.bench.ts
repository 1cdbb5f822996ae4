// Measures each crossing between JavaScript and the engine: the call, the first chunk, the drains of a stream. The simulated
// device takes no time. `npm run bench:bridge` runs it.

import path from 'node:path'
import { createEngine, type Engine, type Generation, type ModelHandle } from 'mlx-serving'
import { afterAll, beforeAll, bench, describe } from 'vitest'

const TOKENIZER = path.join(__dirname, '..', 'tools', 'conformance', 'fixtures', 'walk-byte-level')
const PROMPT = 'one two three four five six seven eight'
const STREAM_TOKENS = 64
const NUM_STREAMS = 64

let engine: Engine
let model: ModelHandle
let tokens: Uint32Array

beforeAll(async () => {
  engine = await createEngine({
    backend: { simulated: 'instant' },
    scheduler: { batchSize: NUM_STREAMS, autoTune: { enabled: false } },
  })
  model = await engine.loadModel(TOKENIZER)
  tokens = await engine.tokenize({ model, text: PROMPT })
})
afterAll(() => engine.dispose())

const ask = (prompt: string | { tokens: Uint32Array } = PROMPT, maxTokens = 1): Generation =>
  engine.generate({ model, prompt, maxTokens, temperature: 0, cache: 'off' })

describe('a request', () => {
  bench('the call alone, cancelled at once', async () => {
    await ask()[Symbol.asyncDispose]()
  })
  bench('one token, awaited', async () => {
    await ask()
  })
  bench('one token, awaited, prompt as token ids', async () => {
    await ask({ tokens })
  })
  bench('until the first chunk', async () => {
    for await (const _ of ask(PROMPT, STREAM_TOKENS)) break
  })
})

describe('a stream', () => {
  bench('one, read to its end', () => read(ask(PROMPT, STREAM_TOKENS)))
  bench('64 at once, read to their ends', async () => {
    await Promise.all(Array.from({ length: NUM_STREAMS }, () => read(ask(PROMPT, STREAM_TOKENS))))
  })
})

describe('beside generations', () => {
  bench('tokenize', async () => {
    await engine.tokenize({ model, text: PROMPT })
  })
  bench('stats', () => {
    engine.stats()
  })
})

async function read(generation: Generation): Promise<void> {
  for await (const _ of generation);
}
