// Every param of sampling does something, does it inside a batch as well as alone, and is refused where it makes no sense.

import type { GenerateParams, PromptParams } from 'mlx-serving'
import { InvalidParamsError } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { failure, type Ready, simulated, withMlx } from './support.js'

const PROMPT = 'What is 12 + 7?'
const CHAT = [{ role: 'user', content: PROMPT }]

type Params = Partial<PromptParams>

const tokensOf = async ({ engine, model }: Ready, params: Params): Promise<number[]> => {
  const { tokens } = await engine.generate({ model, prompt: PROMPT, maxTokens: 40, ...params } as GenerateParams)
  return [...tokens]
}

/** The most often one token was said. */
const mostSaid = (tokens: number[]) => Math.max(...tokens.map(token => tokens.filter(other => other === token).length))

describe('what is drawn from', () => {
  test.each([
    ['topK', { topK: 1 }],
    ['minP', { minP: 1 }],
    ['topP', { topP: 1e-6 }],
  ] as [string, Params][])('%s can leave the most probable token alone', async (_, cut) => {
    const ready = await withMlx()
    const hot = { temperature: 2, seed: 3, ignoreEos: true }
    const greedy = await tokensOf(ready, { temperature: 0, ignoreEos: true })
    expect(await tokensOf(ready, { ...hot, ...cut })).toEqual(greedy)
    expect(await tokensOf(ready, hot)).not.toEqual(greedy)
  })
})

describe('logitBias', () => {
  test('forces a token, forbids one, and leaves an answer alone where it names none', async () => {
    const ready = await withMlx()
    const greedy = await tokensOf(ready, { temperature: 0 })
    const [forced, forbidden] = [7, greedy[0]]
    expect(await tokensOf(ready, { temperature: 0, logitBias: { [forced]: 100 } })).toEqual(new Array(40).fill(forced))
    expect(await tokensOf(ready, { temperature: 0, logitBias: { [forbidden]: -100 } })).not.toContain(forbidden)
    expect(await tokensOf(ready, { temperature: 0, logitBias: {} })).toEqual(greedy)
  })
})

describe('penalties', () => {
  /** A model that is made to say the same few tokens. */
  const tempted: Params = { temperature: 0, logitBias: { 7: 30, 8: 28, 9: 26 }, ignoreEos: true }

  test('each keeps the model from saying the same again', async () => {
    const ready = await withMlx()
    expect(mostSaid(await tokensOf(ready, tempted))).toBe(40)
    for (const penalty of [{ frequencyPenalty: 2 }, { repetitionPenalty: 10 }]) {
      expect(mostSaid(await tokensOf(ready, { ...tempted, ...penalty }))).toBeLessThan(20)
    }
    const [first, second] = await tokensOf(ready, { ...tempted, logitBias: { 7: 30, 8: 29.5 }, presencePenalty: 2 })
    expect([first, second]).toEqual([7, 8])
  })

  test('only recent tokens are penalized for repetition', async () => {
    const ready = await withMlx()
    const context = (repetitionContextTokens: number) =>
      tokensOf(ready, { ...tempted, repetitionPenalty: 10, repetitionContextTokens })
    expect((await context(1)).slice(0, 4)).toEqual([7, 8, 7, 8])
    expect((await context(2)).slice(0, 6)).toEqual([7, 8, 9, 7, 8, 9])
  })
})

describe('ends', () => {
  test('stopTokenIds end an answer; the token counts, its text is left out', async () => {
    const { engine, model } = await withMlx()
    const whole = await engine.generate({ model, messages: CHAT, temperature: 0 })
    const stop = whole.tokens[3]
    const cut = await engine.generate({ model, messages: CHAT, temperature: 0, stopTokenIds: [stop] })
    expect([...cut.tokens]).toEqual([...whole.tokens.slice(0, whole.tokens.indexOf(stop) + 1)])
    expect(cut.finishReason).toBe('stop')
    expect(whole.text.startsWith(cut.text)).toBe(true)
    expect(cut.text.length).toBeLessThan(whole.text.length)
  })

  test('ignoreEos goes on to maxTokens', async () => {
    const { engine, model } = await withMlx()
    const params = { model, messages: CHAT, temperature: 0, maxTokens: 60 }
    expect((await engine.generate(params)).finishReason).toBe('stop')
    const { finishReason, tokens } = await engine.generate({ ...params, ignoreEos: true })
    expect([finishReason, tokens.length]).toEqual(['length', 60])
  })

  test.each([
    ['MLX', withMlx],
    ['a simulated device', () => simulated()],
  ])('minTokens keeps an answer from ending early, with %s', async (_, open) => {
    const { engine, model } = await open()
    const params = { model, messages: CHAT, temperature: 0, maxTokens: 600 }
    const { tokens } = await engine.generate(params)
    expect(tokens.length).toBeLessThan(500)
    const longer = await engine.generate({ ...params, minTokens: tokens.length + 5 })
    expect(longer.tokens.length).toBeGreaterThanOrEqual(tokens.length + 5)
    expect([...longer.tokens.slice(0, tokens.length - 1)]).toEqual([...tokens.slice(0, -1)])
  })
})

test('all of it works in one batch as it does alone', async () => {
  const ready = await withMlx({ scheduler: { deterministic: true } })
  const hot = { temperature: 1.3, maxTokens: 30 }
  const all: Params[] = [
    { temperature: 0 },
    { ...hot, seed: 1, topK: 5 },
    { ...hot, seed: 2, minP: 0.1, repetitionPenalty: 1.4 },
    { ...hot, seed: 3, presencePenalty: 1, frequencyPenalty: 0.5 },
    { ...hot, seed: 4, logitBias: { 40: 3, 41: -100 }, topP: 0.8 },
    { ...hot, seed: 5, minTokens: 20, stopTokenIds: [50] },
    { temperature: 0, repetitionPenalty: 1.5, repetitionContextTokens: 7 },
    { ...hot, seed: 6 },
  ]
  const alone = []
  for (const params of all) alone.push(await tokensOf(ready, params))
  expect(await Promise.all(all.map(params => tokensOf(ready, params)))).toEqual(alone)
})

test('a generation that was computed again is penalized for what it had said before', async () => {
  const params: Params = {
    prompt: { tokens: new Array(250).fill(60) },
    temperature: 0,
    repetitionPenalty: 1.7,
    presencePenalty: 1,
    frequencyPenalty: 0.5,
    minTokens: 20,
    maxTokens: 40,
  }
  const alone = await withMlx({ scheduler: { deterministic: true } })
  const expected = await tokensOf(alone, params)
  // Room for three blocks of 256 positions, of which each generation comes to need two.
  const kvBytes = await bytesOfTwoBlocks()
  const crowded = await withMlx({ scheduler: { deterministic: true }, memory: { kvBytes: (kvBytes / 2) * 3 } })
  const answers = await Promise.all([1, 2, 3, 4].map(() => tokensOf(crowded, params)))
  for (const answer of answers) expect(answer).toEqual(expected)
  expect(crowded.engine.stats().models[0].preemptions).toBeGreaterThan(0)
})

/** A request for which there is no memory is told what it would need. */
async function bytesOfTwoBlocks(): Promise<number> {
  const { engine, model } = await withMlx({ memory: { kvBytes: 1 } })
  const error = await failure(engine.generate({ model, prompt: { tokens: new Array(250).fill(60) }, maxTokens: 100 }))
  return error.requested as number
}

test.each([
  ['topK', { topK: -1 }],
  ['topK', { topK: 1.5 }],
  ['minP', { minP: 1.01 }],
  ['repetitionPenalty', { repetitionPenalty: 0 }],
  ['repetitionPenalty', { repetitionPenalty: Number.NaN }],
  ['repetitionContextTokens', { repetitionContextTokens: 0 }],
  ['presencePenalty', { presencePenalty: 2.1 }],
  ['frequencyPenalty', { frequencyPenalty: '1' }],
  ['logitBias.x', { logitBias: { x: 1 } }],
  ['logitBias.01', { logitBias: { '01': 1 } }],
  ['logitBias.5', { logitBias: { 5: 101 } }],
  ['logitBias.5', { logitBias: { 5: '1' } }],
  ['logitBias', { logitBias: { 4294967295: 1 } }],
  ['logitBias', { logitBias: Object.fromEntries(Array.from({ length: 4097 }, (_, id) => [id, 1])) }],
  ['logitBias', { logitBias: new Map([[5, 1]]) }],
  ['stopTokenIds[0]', { stopTokenIds: [-1] }],
  ['stopTokenIds', { stopTokenIds: [4294967295] }],
  ['ignoreEos', { ignoreEos: 1 }],
  ['minTokens', { minTokens: 50 }],
  ['minTokens', { minTokens: 5, ignoreEos: true }],
  ['minTokens', { minTokens: -1 }],
])('a bad %s is refused by name: %o', async (param, params) => {
  const { engine, model } = await simulated()
  const error = await failure(engine.generate({ model, prompt: PROMPT, maxTokens: 40, ...params } as GenerateParams))
  expect(error).toBeInstanceOf(InvalidParamsError)
  expect(error.param).toBe(param)
})

test('a number is shown in few digits, however large it is', async () => {
  const { engine, model } = await simulated()
  for (const params of [{ temperature: 1e308 }, { seed: 1e-300 }, { maxTokens: 1e308 }]) {
    const error = await failure(engine.generate({ model, prompt: PROMPT, ...params } as GenerateParams))
    expect(error.message).toMatch(/not 1e-?30/)
    expect(error.message.length).toBeLessThan(120)
  }
})

test('more stop tokens than anybody needs are refused: each costs a little in every step', async () => {
  const { engine, model } = await simulated()
  const ask = (count: number) =>
    engine.generate({ model, prompt: PROMPT, stopTokenIds: new Uint32Array(count).fill(3) })
  await ask(4096)
  expect(await failure(ask(4097))).toMatchObject({ param: 'stopTokenIds', limit: 4096, requested: 4097 })
})
