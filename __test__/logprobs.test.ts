// logprobs: the log-probability of each token and the most probable tokens. All readers of an answer get the same values,
// at every load.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { GenerateChunk, GenerateParams, Generation, GeneratorItem, TokenLogprob } from 'mlx-serving'
import { InvalidParamsError } from 'mlx-serving'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  failure,
  INSTANT,
  longAnswer,
  M3_MAX,
  ON_MLX,
  type OnMlx,
  type Ready,
  sharing,
  simulated,
  until,
  withMlx,
} from './support.js'

const PROMPT = 'What is 12 + 7?'

const ask = ({ engine, model }: Ready, params: Partial<GenerateParams> = {}) =>
  engine.generate({ model, prompt: PROMPT, maxTokens: 12, logprobs: 3, ...params } as GenerateParams)

/** The joined chunks of a stream. */
async function streamed(generation: Generation): Promise<TokenLogprob[]> {
  const all: TokenLogprob[] = []
  for await (const chunk of generation) all.push(...logprobsOf(chunk))
  return all
}

/** The log-probabilities of a chunk or result: one entry for each token. */
function logprobsOf({ tokens, logprobs }: Pick<GenerateChunk, 'tokens' | 'logprobs'>): readonly TokenLogprob[] {
  expect(logprobs?.map(({ tokenId }) => tokenId)).toEqual([...tokens])
  return logprobs ?? []
}

const probability = ({ logprob }: { logprob: number }) => Math.exp(logprob)

describe.each<OnMlx>([...ON_MLX, ['a simulated device', () => simulated()]])('with %s', (_, open) => {
  test('every token has its own entry and the most probable ones, in order', async () => {
    const all = logprobsOf(await ask(await open(), { logprobs: 20, temperature: 0 }))
    expect(all.length).toBeGreaterThan(0)
    for (const { top, ...own } of all) {
      expect(top).toHaveLength(20)
      expect(new Set(top.map(({ tokenId }) => tokenId)).size).toBe(20)
      expect(top.map(({ logprob }) => logprob)).toEqual(top.map(({ logprob }) => logprob).sort((a, b) => b - a))
      // At temperature 0 the most probable token is taken.
      expect(top[0]).toEqual(own)
      const sum = top.map(probability).reduce((a, b) => a + b)
      expect(sum).toBeLessThanOrEqual(1.00001)
      expect(sum).toBeGreaterThan(0.5)
    }
  })

  test('a smaller number of entries gives the first ones of a larger number, and 0 gives none', async () => {
    const ready = await open()
    const all = logprobsOf(await ask(ready, { logprobs: 20 }))
    for (const logprobs of [5, 0]) {
      const fewer = all.map(({ top, ...own }) => ({ ...own, top: top.slice(0, logprobs) }))
      expect(logprobsOf(await ask(ready, { logprobs }))).toEqual(fewer)
    }
  })

  test('without the param, chunks and results have no logprobs', async () => {
    const ready = await open()
    const generation = ask(ready, { logprobs: undefined as never })
    for await (const chunk of generation) expect(chunk).not.toHaveProperty('logprobs')
    expect(await generation).not.toHaveProperty('logprobs')
  })

  test('logprobs are in chunks and in the result, and do not change the answer', async () => {
    const ready = await open()
    const generation = ask(ready)
    const chunks = await streamed(generation)
    const result = await generation
    expect(chunks).toEqual(logprobsOf(result))
    const { logprobs: _, ...without } = await ask(ready, { logprobs: null as never })
    expect([result.text, [...result.tokens]]).toEqual([without.text, [...without.tokens]])
  })

  test('each item of createGenerator has its logprobs', async () => {
    const ready = await open()
    const { engine, model } = ready
    const items: GeneratorItem[] = []
    const params = { model, prompt: PROMPT, maxTokens: 12, logprobs: 3 }
    for await (const item of engine.createGenerator(params)) items.push(item)
    const expected = logprobsOf(await ask(ready)).map(({ tokenId, logprob, top }) =>
      expect.objectContaining({ tokenId, logprob, top }),
    )
    expect(items.slice(0, -1)).toEqual(expected)
    expect(items.at(-1)).not.toHaveProperty('result.logprobs')
  })
})

test.each(ON_MLX)('sampling params do not change logprobs, with %s', async (_, open) => {
  const ready = await open()
  const plain = logprobsOf(await ask(ready, { temperature: 0, logprobs: 20 }))
  const forced = plain[0].top[5].tokenId
  const changed = { temperature: 2, seed: 1, topK: 3, presencePenalty: 2, logitBias: { [forced]: 100 } }
  const [first] = logprobsOf(await ask(ready, { ...changed, logprobs: 20 }))
  expect(first).toEqual({ ...plain[0].top[5], top: plain[0].top })
})

test.each(ON_MLX)('a grammar does not change logprobs, with %s', async (_, open) => {
  const ready = await open()
  const [plain] = logprobsOf(await ask(ready, { temperature: 0, logprobs: 20 }))
  const guided = ask(ready, { temperature: 0, logprobs: 20, structured: { choices: ['zebra', 'xylophone'] } })
  const [first] = await streamed(guided)
  expect(first.top).toEqual(plain.top)
  expect(first.tokenId).not.toBe(plain.tokenId)
  expect(logprobsOf(await guided)).toHaveLength((await guided).tokens.length)
})

describe('the texts of tokens', () => {
  /** Two tokens and more for each of its last two characters. */
  const TEXT = 'so 日本 🙂'
  const guided = { structured: { choices: [TEXT] }, maxTokens: 40, logprobs: 20 }

  test('their bytes together are the text, streamed and awaited', async () => {
    const generation = ask(await withMlx(), guided)
    const chunks = await streamed(generation)
    const { text, logprobs } = await generation
    expect(text).toBe(TEXT)
    expect(Buffer.from(chunks.flatMap(({ bytes = [] }) => bytes)).toString()).toBe(TEXT)
    expect(chunks).toEqual(logprobs)
  })

  test('a token with a part of a character has U+FFFD in its text, and exact bytes', async () => {
    const { engine, model } = await withMlx()
    const { logprobs = [] } = await engine.generate({ model, prompt: PROMPT, ...guided })
    expect(logprobs.some(({ token }) => token.includes('\ufffd'))).toBe(true)
    for (const { tokenId, token, bytes = [] } of logprobs.flatMap(({ top, ...own }) => [own, ...top])) {
      if (bytes.length === 0) continue
      expect(token).toBe(Buffer.from(bytes).toString())
      expect(await engine.detokenize({ model, tokens: [tokenId] })).toBe(token)
    }
  })

  test('a special token has its name and no bytes', async () => {
    const { engine, model } = await withMlx()
    const messages = [{ role: 'user', content: 'What is 12 + 7?' }]
    const { tokens, finishReason, logprobs = [] } = await engine.generate({ model, messages, logprobs: 1 })
    expect(finishReason).toBe('stop')
    const last = { tokenId: tokens.at(-1), token: '<|end|>', logprob: expect.any(Number) }
    expect(logprobs.at(-1)).toEqual({ ...last, top: [last] })
  })
})

test('an answer that ends before its first token has no logprobs', async () => {
  const ready = await simulated(M3_MAX, { scheduler: { enabled: false } })
  // Takes more than 6 s, unless it is cancelled.
  const before = ready.engine.generate({ model: ready.model, prompt: 'Once', maxTokens: 1_000, ignoreEos: true })
  await until(() => ready.engine.stats().running === 1)
  const waiting = ask(ready)
  waiting.cancel()
  expect(await waiting).toMatchObject({ finishReason: 'cancelled', logprobs: [] })
  before.cancel()
  await before
})

test('text that was held back comes without a token and without log-probabilities', async () => {
  const { engine, model } = await simulated()
  const params = { ...(await longAnswer(20)), model, logprobs: 2, maxTokens: 20 }
  const { text } = await engine.generate(params)
  const generation = engine.generate({ ...params, stopSequences: [`${text.slice(-4)}\u0000`] })
  for await (const chunk of generation) logprobsOf(chunk)
  expect((await generation).text).toBe(text)
})

describe('requests that share an answer', () => {
  test('get the same values: computed, joined and cached', async () => {
    const faults = [{ step: 0, kind: 'stall' as const, ms: 500 }]
    // All three requests arrive during the first step.
    const ready = await sharing(INSTANT, { backend: { simulated: INSTANT, faults } })
    const generations = [ask(ready), ask(ready), ask(ready)]
    const read = streamed(generations[1])
    const results = [...(await Promise.all(generations)), await ask(ready)]
    expect(results.map(({ served }) => served)).toEqual(['computed', 'coalesced', 'coalesced', 'cached'])
    for (const result of results) expect(logprobsOf(result)).toEqual(results[0].logprobs)
    expect(await read).toEqual(results[0].logprobs)
    expect(await streamed(ask(ready))).toEqual(results[0].logprobs)
  })

  test('have the same number of log-probabilities', async () => {
    const ready = await sharing()
    const servedWith = async (logprobs: number | undefined) => (await ask(ready, { logprobs } as never)).served
    for (const logprobs of [undefined, 0, 1, 20]) expect(await servedWith(logprobs)).toBe('computed')
    for (const logprobs of [undefined, 0, 1, 20]) expect(await servedWith(logprobs)).toBe('cached')
  })

  test('get the same values from the cache file in another process', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'answers-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const cache = { promptCache: { path: path.join(folder, 'answers') } }
    const life = async () => {
      const ready = await sharing(INSTANT, { cache })
      const result = await ask(ready, { logprobs: 20 })
      await ready.engine.dispose()
      return result
    }
    const [first, second] = [await life(), await life()]
    expect(second.served).toBe('cached')
    expect(logprobsOf(second)).toEqual(logprobsOf(first))
  })
})

test('values are the same to the last bit alone, in a batch, and after preemption', async () => {
  const common = { prompt: { tokens: new Array(250).fill(60) }, maxTokens: 40, minTokens: 20 }
  const all = [20, undefined, 0, 3, 20].map((logprobs, index) => ({
    ...common,
    logprobs,
    ...(index > 2 && { temperature: 1, seed: index }),
  })) as Partial<GenerateParams>[]
  const deterministic = { scheduler: { deterministic: true } }
  const alone = await withMlx(deterministic)
  const expected = []
  for (const params of all) expected.push((await ask(alone, params)).logprobs)
  // Room for three blocks of 256 positions; each generation needs two in the end.
  const tight = await withMlx({ memory: { kvBytes: 1 } })
  const twoBlocks = (await failure(ask(tight, common))).requested as number
  const crowded = await withMlx({ ...deterministic, memory: { kvBytes: (twoBlocks / 2) * 3 } })
  const together = await Promise.all(all.map(params => ask(crowded, params)))
  expect(together.map(({ logprobs }) => logprobs)).toEqual(expected)
  expect(crowded.engine.stats().models[0].preemptions).toBeGreaterThan(0)
})

test.each([-1, 21, 1.5, Number.NaN, '3', true, {}])('the error about logprobs: %j names the param', async logprobs => {
  const error = await failure(ask(await simulated(), { logprobs: logprobs as number }))
  expect(error).toBeInstanceOf(InvalidParamsError)
  expect(error).toMatchObject({ code: 'InvalidParams', param: 'logprobs' })
})
