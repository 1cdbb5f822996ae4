// Why requests found no prefix: the reason of each, with the tokens that matched, in `stats()` and in the metrics.

import type { Engine, EngineOptions, GenerateParams, PrefixCacheMiss } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { Scrape } from './prometheus.js'
import { INSTANT, ON_MLX, type Ready, SHARING_PREFIXES, simulated } from './support.js'

const tokens = (count: number, first = 0) =>
  Array.from({ length: count }, (_, at) => 10 + ((first * 13 + at * 7) % 250))
const open = (options: EngineOptions = {}) => simulated(INSTANT, { ...SHARING_PREFIXES, ...options })
const prefixOf = (engine: Engine) => engine.stats().cache.prefix

const ask = ({ engine, model }: Ready, prompt: number[], params: object = {}, options = {}) =>
  engine.generate(
    { temperature: 0, maxTokens: 1, prompt: { tokens: prompt }, ...params, model } as GenerateParams,
    options,
  )

/** The last miss without its names. */
function last({ engine }: Ready): Omit<PrefixCacheMiss, 'requestId' | 'model'> | undefined {
  const miss = prefixOf(engine).recentMisses.at(-1)
  return miss && { reason: miss.reason, matchedTokens: miss.matchedTokens, promptTokens: miss.promptTokens }
}

describe.each(ON_MLX)('with %s', (_, openMlx) => {
  test('a miss says at which token the prompt diverged', async () => {
    const ready = await openMlx(SHARING_PREFIXES)
    await ask(ready, tokens(80))
    expect(last(ready)).toEqual({ reason: 'new', matchedTokens: 0, promptTokens: 80 })
    await ask(ready, [...tokens(23), ...tokens(60, 5)])
    expect(last(ready)).toEqual({ reason: 'diverged', matchedTokens: 23, promptTokens: 83 })
    const { id } = await ask(ready, [...tokens(23), ...tokens(17, 5), ...tokens(50, 9)])
    expect(prefixOf(ready.engine).recentMisses.at(-1)).toEqual({
      requestId: id,
      model: ready.model.id,
      reason: 'diverged',
      matchedTokens: 40,
      promptTokens: 90,
    })
    await ask(ready, [...tokens(70), 9])
    expect(prefixOf(ready.engine).recentMisses).toHaveLength(3)
  })
})

test('each reason is counted, with the tokens that matched', async () => {
  const ready = await open({ cache: { ...SHARING_PREFIXES.cache, prefixCache: { maxTokens: 150 } } })
  await ask(ready, tokens(100), { cacheSalt: 'a' })
  await ask(ready, tokens(100), { cacheSalt: 'b' })
  expect(last(ready)).toEqual({ reason: 'salt', matchedTokens: 0, promptTokens: 100 })
  await ask(ready, tokens(30), { cacheSalt: 'b' })
  expect(last(ready)).toEqual({ reason: 'short', matchedTokens: 30, promptTokens: 30 })
  await ask(ready, tokens(100), { cache: 'off' })
  expect(last(ready)).toEqual({ reason: 'disabled', matchedTokens: 0, promptTokens: 100 })
  await ask(ready, tokens(149, 40))
  await ask(ready, tokens(100), { cacheSalt: 'b' })
  expect(last(ready)).toEqual({ reason: 'evicted', matchedTokens: 0, promptTokens: 100 })
  const { misses } = prefixOf(ready.engine)
  expect(misses).toEqual({ short: 1, new: 2, diverged: 0, salt: 1, evicted: 1, window: 0, disabled: 1 })
})

test('without the prefix cache every request counts as disabled, and metrics count no miss of the layer', async () => {
  const ready = await open({ cache: { prefixCache: { enabled: false } } })
  const { id } = await ask(ready, tokens(100), {}, { id: 'mine' })
  expect(id).toBe('mine')
  expect(prefixOf(ready.engine)).toMatchObject({
    misses: { disabled: 1, new: 0 },
    recentMisses: [{ requestId: 'mine' }],
  })
  const scraped = new Scrape(ready.engine.metrics())
  expect(scraped.sum('mlx_cache_misses_total', { layer: 'prefix' })).toBe(0)
  expect(scraped.sum('mlx_prefix_misses_total', { reason: 'disabled' })).toBe(1)
})

test('a prompt is also compared with running prompts', async () => {
  const ready = await open()
  const all = [1, 2, 3].map(own => ask(ready, [...tokens(31), ...tokens(90, own)], { maxTokens: 5 }))
  await Promise.all(all)
  const matched = prefixOf(ready.engine).recentMisses.map(({ reason, matchedTokens }) => [reason, matchedTokens])
  expect(matched).toEqual([
    ['new', 0],
    ['diverged', 31],
    ['diverged', 31],
  ])
})

test('stats() has the last 32 misses, also after their model was unloaded', async () => {
  const ready = await open()
  for (let n = 0; n < 40; n++) await ask(ready, [n + 10, ...tokens(80)], {}, { id: `request ${n}` })
  const names = () => prefixOf(ready.engine).recentMisses.map(({ requestId }) => requestId)
  const expected = Array.from({ length: 32 }, (_, at) => `request ${at + 8}`)
  expect(names()).toEqual(expected)
  await ready.engine.unloadModel(ready.model)
  expect(names()).toEqual(expected)
})

test('metrics have the figures of stats()', async () => {
  const ready = await open()
  for (const own of [1, 2]) await ask(ready, [...tokens(100), ...tokens(20, own)])
  await ask(ready, [...tokens(10), ...tokens(100, 3)])
  const { misses, tokensReused, tokensComputed, evictions, bytes } = prefixOf(ready.engine)
  const scraped = new Scrape(ready.engine.metrics())
  for (const [reason, count] of Object.entries(misses)) {
    expect(scraped.sum('mlx_prefix_misses_total', { reason }), reason).toBe(count)
  }
  expect([tokensReused, tokensComputed]).toEqual([100, 120 + 20 + 110])
  expect(scraped.sum('mlx_prefix_tokens_total', { kind: 'reused' })).toBe(tokensReused)
  expect(scraped.sum('mlx_prefix_tokens_total', { kind: 'computed' })).toBe(tokensComputed)
  expect(scraped.sum('mlx_prefix_evictions_total')).toBe(evictions)
  expect(scraped.sum('mlx_prefix_bytes')).toBe(bytes)
  expect(scraped.sum('mlx_cache_misses_total', { layer: 'prefix' })).toBe(2)
})
