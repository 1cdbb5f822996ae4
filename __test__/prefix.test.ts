// Requests that begin with the same tokens read them once: turns of a chat, prompts with one beginning, one after another and
// together. Answers are the same as without; `usage` and `stats()` say what was reused.

import type { Engine, EngineOptions, GenerateParams, GenerateResult, PrefixCacheStats } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { IN_FLOAT32, INSTANT, ON_MLX, type Ready, SHARING_PREFIXES, simulated, UNSHARED, until } from './support.js'

/** Tokens of a text that no model has to understand. */
const tokens = (count: number, first = 0) =>
  Array.from({ length: count }, (_, at) => 10 + ((first * 13 + at * 7) % 250))
const begun = (count: number, own: number) => ({ tokens: [...tokens(count), ...tokens(5, own)] })
const prefixOf = (engine: Engine): PrefixCacheStats => engine.stats().cache.prefix
const missesOf = (engine: Engine) =>
  Object.fromEntries(Object.entries(prefixOf(engine).misses).filter(([, count]) => count > 0))

const open = (options: EngineOptions = {}) => simulated(INSTANT, { ...SHARING_PREFIXES, ...options })
const ask = ({ engine, model }: Ready, params: Omit<GenerateParams, 'model'>, options = {}) =>
  engine.generate({ temperature: 0, maxTokens: 8, ignoreEos: true, ...params, model } as GenerateParams, options)

/** In the precision of the weights, rounding depends on how a prompt is cut into steps. It changes no lead of this size. */
const CLEAR_LEAD = 0.5

/** The tokens of an answer before the first one that rounding could change. */
function clearTokens({ tokens, logprobs = [] }: GenerateResult, isExact: boolean): number[] {
  const unclear = logprobs.findIndex(({ logprob, top }) => logprob - (top[1]?.logprob ?? logprob) < CLEAR_LEAD)
  return [...tokens].slice(0, isExact || unclear < 0 ? tokens.length : unclear)
}

describe.each(ON_MLX)('with %s', (name, openMlx) => {
  const isExact = name === IN_FLOAT32[0]
  const sameAnswer = (found: GenerateResult, expected: GenerateResult) => {
    const clear = clearTokens(expected, isExact)
    expect([...found.tokens].slice(0, clear.length)).toEqual(clear)
    return clear.length
  }

  test('each turn of a chat reads only what is new, and answers are the same', async () => {
    const [shared, alone] = await Promise.all([openMlx(SHARING_PREFIXES), openMlx(UNSHARED)])
    let prompt = tokens(90)
    for (let turn = 1; turn <= 4; turn++) {
      const [found, expected] = await Promise.all(
        [shared, alone].map(ready => ask(ready, { prompt: { tokens: prompt }, logprobs: 2 })),
      )
      sameAnswer(found, expected)
      const { inputTokens, cachedInputTokens } = found.usage
      expect(inputTokens).toBe(prompt.length)
      // The last token of an answer was sampled, and was not read unless a step ran ahead.
      if (turn === 1) expect(cachedInputTokens).toBe(0)
      else expect(inputTokens - cachedInputTokens).toBeLessThanOrEqual(13)
      expect(expected.usage.cachedInputTokens).toBe(0)
      prompt = [...prompt, ...found.tokens, ...tokens(12, turn)]
    }
    expect(prefixOf(shared.engine)).toMatchObject({ hits: 3, misses: { new: 1 } })
    expect(prefixOf(alone.engine)).toMatchObject({ hits: 0, entries: 0, bytes: 0 })
  })

  test('prompts with one beginning that arrive together read it once', async () => {
    const [shared, alone] = await Promise.all([openMlx(SHARING_PREFIXES), openMlx(UNSHARED)])
    const all = ({ engine, model }: Ready) =>
      Promise.all([1, 2, 3, 4].map(own => ask({ engine, model }, { prompt: begun(150, own), logprobs: 2 })))
    const [found, expected] = [await all(shared), await all(alone)]
    const compared = found.map((answer, at) => sameAnswer(answer, expected[at] as GenerateResult))
    expect(compared.reduce((sum, count) => sum + count)).toBeGreaterThan(0)
    const { promptTokens } = shared.engine.stats()
    // Each prompt has 5 tokens of its own; one that waits may start up to 15 tokens early.
    expect(promptTokens).toBeLessThanOrEqual(150 + 4 * 5 + 3 * 15)
    expect(alone.engine.stats().promptTokens).toBe(4 * 155)
    const computed = found.map(({ usage }) => usage.inputTokens - usage.cachedInputTokens)
    expect(computed.reduce((sum, count) => sum + count)).toBe(promptTokens)
  })
})

test('a prompt that diverges keeps what it has in common', async () => {
  const ready = await open()
  await ask(ready, { prompt: { tokens: tokens(200) } })
  const { usage } = await ask(ready, { prompt: begun(120, 9) })
  expect(usage.cachedInputTokens).toBe(120)
})

test('requests with different salts or tenants share nothing, and those with the same do', async () => {
  const ready = await open()
  const cached = async (params: object, options = {}) =>
    (await ask(ready, { prompt: { tokens: tokens(100) }, ...params }, options)).usage.cachedInputTokens
  expect(await cached({ cacheSalt: 'a' })).toBe(0)
  expect(await cached({ cacheSalt: 'b' })).toBe(0)
  expect(await cached({})).toBe(0)
  expect(await cached({}, { tenant: 'c' })).toBe(0)
  expect(await cached({ cacheSalt: 'a' })).toBe(99)
  expect(await cached({ cacheSalt: 'c' })).toBe(99)
  expect(missesOf(ready.engine)).toEqual({ new: 1, salt: 3 })
})

test("a request with cache: 'off' neither uses nor leaves a prefix", async () => {
  const ready = await open()
  const cached = async (cache: 'auto' | 'off') =>
    (await ask(ready, { prompt: { tokens: tokens(100) }, cache })).usage.cachedInputTokens
  expect([await cached('off'), await cached('auto'), await cached('off'), await cached('auto')]).toEqual([0, 0, 0, 99])
})

test('cache.clear() drops prefixes, and running requests leave none', async () => {
  const ready = await open()
  const { engine } = ready
  await ask(ready, { prompt: { tokens: tokens(100) } })
  expect(prefixOf(engine)).toMatchObject({ entries: 1, tokens: expect.any(Number) })
  expect(prefixOf(engine).bytes).toBeGreaterThan(0)
  engine.cache.clear()
  await until(() => engine.stats().kvBytes === 0)
  expect(prefixOf(engine)).toMatchObject({ entries: 0, tokens: 0, bytes: 0 })
  const { usage } = await ask(ready, { prompt: { tokens: tokens(100) } })
  expect(usage.cachedInputTokens).toBe(0)
})

test('the options decide whether and from which length prefixes are reused, also while the engine runs', async () => {
  const ready = await open({ cache: { ...SHARING_PREFIXES.cache, prefixCache: { minTokens: 10, maxTokens: 150 } } })
  const cached = async (count: number, own: number) =>
    (await ask(ready, { prompt: begun(count, own) })).usage.cachedInputTokens
  expect([await cached(9, 1), await cached(9, 2)]).toEqual([0, 0])
  expect([await cached(30, 3), await cached(30, 4)]).toEqual([0, 30])
  ready.engine.cache.configure({ prefixCache: { enabled: false } })
  expect(await cached(30, 5)).toBe(0)
  expect(prefixOf(ready.engine).entries).toBe(0)
  ready.engine.cache.configure({ prefixCache: { enabled: true } })
  expect([await cached(60, 6), await cached(60, 7)]).toEqual([0, 60])
  await ask(ready, { prompt: { tokens: tokens(140, 50) } })
  expect(prefixOf(ready.engine)).toMatchObject({ entries: 1, evictions: 2 })
})

test('a shared answer counts as a whole, and a reused prefix in part', async () => {
  const ready = await simulated(INSTANT, { cache: {} })
  const prompt = { tokens: tokens(100) }
  const first = await ask(ready, { prompt })
  const again = await ask(ready, { prompt })
  expect(
    [first, again].map(({ served, usage }) => [served, usage.cachedInputTokens, usage.cachedOutputTokens]),
  ).toEqual([
    ['computed', 0, 0],
    ['cached', 100, 8],
  ])
  const other = await ask(ready, { prompt, maxTokens: 7 })
  expect(other).toMatchObject({ served: 'computed', usage: { cachedInputTokens: 99, cachedOutputTokens: 0 } })
  expect(prefixOf(ready.engine)).toMatchObject({ hits: 1, tokensReused: 99, tokensComputed: 101 })
})

test('bits are equal with and without reuse where attention is fused', async () => {
  const [, openMlx] = IN_FLOAT32
  const deterministic = { scheduler: { deterministic: true } }
  const [shared, alone] = await Promise.all([
    openMlx({ ...SHARING_PREFIXES, ...deterministic }),
    openMlx({ ...UNSHARED, ...deterministic }),
  ])
  await ask(shared, { prompt: { tokens: tokens(120) }, maxTokens: 40 })
  for (const prompt of [begun(120, 3), begun(77, 4), { tokens: tokens(100) }]) {
    const [found, expected] = await Promise.all([shared, alone].map(ready => ask(ready, { prompt, logprobs: 5 })))
    expect(found.usage.cachedInputTokens).toBeGreaterThan(0)
    expect(found.logprobs).toEqual(expected.logprobs)
  }
})
