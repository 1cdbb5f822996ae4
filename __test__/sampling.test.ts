// Every sampling param has its effect, alone and in a batch, and wrong values are refused.

import type { GenerateParams, PromptParams } from 'mlx-serving'
import { InvalidParamsError } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import {
  crowded,
  failure,
  IN_FLOAT32,
  IN_HALF_PRECISION,
  IN_OWN_PRECISION,
  ON_MLX,
  type OnMlx,
  type Ready,
  simulated,
  withMlx,
} from './support.js'

const PROMPT = 'What is 12 + 7?'
const CHAT = [{ role: 'user', content: PROMPT }]

type Params = Partial<PromptParams>

const tokensOf = async ({ engine, model }: Ready, params: Params): Promise<number[]> => {
  const { tokens } = await engine.generate({ model, prompt: PROMPT, maxTokens: 40, ...params } as GenerateParams)
  return [...tokens]
}

/** The count of the most frequent token. */
const maxCount = (tokens: number[]) => Math.max(...tokens.map(token => tokens.filter(other => other === token).length))

describe.each(ON_MLX)('cuts, with %s', (_, open) => {
  test.each([
    ['topK', { topK: 1 }],
    ['minP', { minP: 1 }],
    ['topP', { topP: 1e-6 }],
    ['the smallest topP', { topP: Number.MIN_VALUE }],
  ] as [string, Params][])('%s can leave only the most probable token', async (_, cut) => {
    const ready = await open()
    const hot = { temperature: 2, seed: 3, ignoreEos: true, maxTokens: 20 }
    const greedy = await tokensOf(ready, { ...hot, temperature: 0 })
    expect(await tokensOf(ready, { ...hot, ...cut })).toEqual(greedy)
    expect(await tokensOf(ready, hot)).not.toEqual(greedy)
  })
})

describe.each(ON_MLX)('logitBias, with %s', (_, open) => {
  test('forces a token, forbids a token, and has no effect without tokens', async () => {
    const ready = await open()
    const greedy = await tokensOf(ready, { temperature: 0 })
    const [forced, forbidden] = [7, greedy[0]]
    expect(await tokensOf(ready, { temperature: 0, logitBias: { [forced]: 100 } })).toEqual(new Array(40).fill(forced))
    expect(await tokensOf(ready, { temperature: 0, logitBias: { [forbidden]: -100 } })).not.toContain(forbidden)
    expect(await tokensOf(ready, { temperature: 0, logitBias: {} })).toEqual(greedy)
  })
})

describe.each(ON_MLX)('penalties, with %s', (_, open) => {
  /** Biases that make the model repeat a few tokens. */
  const tempted: Params = { temperature: 0, logitBias: { 7: 50, 8: 45, 9: 40 }, ignoreEos: true }

  test('each penalty reduces repetition', async () => {
    const ready = await open()
    expect(maxCount(await tokensOf(ready, tempted))).toBe(40)
    for (const penalty of [{ frequencyPenalty: 2 }, { repetitionPenalty: 10 }]) {
      expect(maxCount(await tokensOf(ready, { ...tempted, ...penalty }))).toBeLessThan(20)
    }
    // With one of these biases the model prefers 7 to 8 by less than the penalty. Which one depends on its weights.
    const firstTwo = async (bias: number, presencePenalty: number) =>
      (await tokensOf(ready, { ...tempted, logitBias: { 7: 50, 8: bias }, presencePenalty, maxTokens: 2 })).join()
    const pairs = Array.from({ length: 21 }, async (_, n) => [await firstTwo(40 + n, 0), await firstTwo(40 + n, 2)])
    expect(await Promise.all(pairs)).toContainEqual(['7,7', '7,8'])
  })

  test('repetitionPenalty only penalizes recent tokens', async () => {
    const ready = await open()
    const context = (repetitionContextTokens: number) =>
      tokensOf(ready, { ...tempted, repetitionPenalty: 10, repetitionContextTokens })
    expect((await context(1)).slice(0, 4)).toEqual([7, 8, 7, 8])
    expect((await context(2)).slice(0, 6)).toEqual([7, 8, 9, 7, 8, 9])
  })
})

describe.each(ON_MLX)('ends, with %s', (_, open) => {
  test('stopTokenIds end an answer; the token counts and has no text', async () => {
    const { engine, model } = await open()
    const whole = await engine.generate({ model, messages: CHAT, temperature: 0 })
    const stop = whole.tokens[3]
    const cut = await engine.generate({ model, messages: CHAT, temperature: 0, stopTokenIds: [stop] })
    expect([...cut.tokens]).toEqual([...whole.tokens.slice(0, whole.tokens.indexOf(stop) + 1)])
    expect(cut.finishReason).toBe('stop')
    expect(whole.text.startsWith(cut.text)).toBe(true)
    expect(cut.text.length).toBeLessThan(whole.text.length)
  })

  test('with ignoreEos an answer continues to maxTokens', async () => {
    const { engine, model } = await open()
    const params = { model, messages: CHAT, temperature: 0, maxTokens: 60 }
    expect((await engine.generate(params)).finishReason).toBe('stop')
    const { finishReason, tokens } = await engine.generate({ ...params, ignoreEos: true })
    expect([finishReason, tokens.length]).toEqual(['length', 60])
  })
})

test.each<OnMlx>([...ON_MLX, ['a simulated device', () => simulated()]])(
  'minTokens keeps an answer from ending early, with %s',
  async (_, open) => {
    const { engine, model } = await open()
    const params = { model, messages: CHAT, temperature: 0, maxTokens: 600 }
    const { tokens } = await engine.generate(params)
    expect(tokens.length).toBeLessThan(500)
    const longer = await engine.generate({ ...params, minTokens: tokens.length + 5 })
    expect(longer.tokens.length).toBeGreaterThanOrEqual(tokens.length + 5)
    expect([...longer.tokens.slice(0, tokens.length - 1)]).toEqual([...tokens.slice(0, -1)])
  },
)

test.each(IN_OWN_PRECISION)('each generation of a batch has its own params, with %s', async (_, open) => {
  const ready = await open()
  const chat = async () => {
    const { tokens } = await ready.engine.generate({ model: ready.model, messages: CHAT, temperature: 0 })
    return [...tokens]
  }
  const greedy = await chat()
  const hot = { temperature: 1.3, maxTokens: 30, ignoreEos: true }
  const all: Params[] = [
    { ...hot, seed: 1, topK: 1 },
    { ...hot, seed: 2, logitBias: { 7: 100 } },
    { ...hot, seed: 3, logitBias: { 7: 100, 8: 90 }, repetitionPenalty: 10, repetitionContextTokens: 1 },
    { ...hot, seed: 4, logitBias: { 40: -100, 41: -100 } },
    { ...hot, seed: 5, ignoreEos: false, minTokens: 20, stopTokenIds: [50] },
    { ...hot, seed: 6 },
  ]
  const answers = [chat(), ...all.map(params => tokensOf(ready, params))]
  const [plain, first, forced, turns, forbidden, long, free] = await Promise.all(answers)
  expect(plain).toEqual(greedy)
  expect(first).toEqual(await tokensOf(ready, { temperature: 0, maxTokens: 30, ignoreEos: true }))
  expect(forced).toEqual(new Array(30).fill(7))
  expect(turns.slice(0, 4)).toEqual([7, 8, 7, 8])
  expect(forbidden).not.toContain(40)
  expect(forbidden).not.toContain(41)
  expect(long.length).toBeGreaterThanOrEqual(20)
  expect(long.slice(0, 20)).not.toContain(50)
  expect(free.length).toBe(30)
})

test('all params have the same effect in a batch and alone', async () => {
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

describe('a generation that was preempted', () => {
  /** Needs two blocks of KV in the end. */
  const long: Params = { prompt: { tokens: new Array(250).fill(60) }, temperature: 0, maxTokens: 40 }

  test('is penalized for tokens from before the preemption', async () => {
    const penalties = { repetitionPenalty: 1.7, presencePenalty: 1, frequencyPenalty: 0.5 }
    const params = { ...long, ...penalties, minTokens: 20 }
    const expected = await tokensOf(await withMlx(), params)
    const ready = await crowded(IN_FLOAT32)
    const answers = await Promise.all([1, 2, 3, 4].map(() => tokensOf(ready, params)))
    for (const answer of answers) expect(answer).toEqual(expected)
    expect(ready.engine.stats().models[0].preemptions).toBeGreaterThan(0)
  })

  test.each(IN_HALF_PRECISION)('repeats no token from before the preemption, with %s', async (...path) => {
    // The logit of each token exceeds the next one by more than rounding, until the token was generated.
    const logitBias = Object.fromEntries(Array.from({ length: 41 }, (_, n) => [7 + n, 100 - n]))
    const params = { ...long, logitBias, repetitionPenalty: 10, repetitionContextTokens: 100, ignoreEos: true }
    const expected = await tokensOf(await path[1](), params)
    expect(maxCount(expected)).toBe(1)
    const ready = await crowded(path)
    const answers = await Promise.all([1, 2, 3, 4].map(() => tokensOf(ready, params)))
    for (const answer of answers) expect(maxCount(answer)).toBe(1)
    expect(ready.engine.stats().models[0].preemptions).toBeGreaterThan(0)
  })
})

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

test('errors show large numbers in few digits', async () => {
  const { engine, model } = await simulated()
  for (const params of [{ temperature: 1e308 }, { seed: 1e-300 }, { maxTokens: 1e308 }]) {
    const error = await failure(engine.generate({ model, prompt: PROMPT, ...params } as GenerateParams))
    expect(error.message).toMatch(/not 1e-?30/)
    expect(error.message.length).toBeLessThan(120)
  }
})

test('too many stop tokens are refused, because each has a cost in every step', async () => {
  const { engine, model } = await simulated()
  const ask = (count: number) =>
    engine.generate({ model, prompt: PROMPT, stopTokenIds: new Uint32Array(count).fill(3) })
  await ask(4096)
  expect(await failure(ask(4097))).toMatchObject({ param: 'stopTokenIds', limit: 4096, requested: 4097 })
})
