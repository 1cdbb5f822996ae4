// The switches of a runtime file, key by key: each one changes what the engine does, and leaves the rest as it is.

import type { EngineOptions } from 'mlx-serving'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { runtimeFile } from './runtimefile.js'
import { INSTANT, longAnswer, M3_MAX, type Ready, sharing } from './support.js'

beforeEach(() => {
  const ours = Object.keys(process.env).filter(name => name.startsWith('MLX_') || name === 'NODE_ENV')
  for (const name of ours) vi.stubEnv(name, undefined)
  return () => vi.unstubAllEnvs()
})

/** An engine that shares answers, with this runtime file. */
const withFile = async (text: string, profile = INSTANT, options: EngineOptions = {}) =>
  sharing(profile, { configFile: await runtimeFile(text), ...options })

/** Two requests that are sent together arrive during the first step. */
const SLOW_START: EngineOptions = {
  backend: { simulated: INSTANT, faults: [{ step: 0, kind: 'stall', ms: 500 }] },
}

const greedy = { prompt: 'Once', maxTokens: 12 }
/** Its seed is random, so only `dedup` caches its answer. */
const sampled = { ...greedy, temperature: 1, cache: 'force' as const }

type Params = typeof greedy

const pair = async ({ engine, model }: Ready, params: Params) => {
  const results = await Promise.all([engine.generate({ model, ...params }), engine.generate({ model, ...params })])
  return results.map(({ served }) => served)
}

const oneByOne = async ({ engine, model }: Ready, params: Params) => {
  const first = await engine.generate({ model, ...params })
  const second = await engine.generate({ model, ...params })
  return [first.served, second.served]
}

describe('answers', () => {
  test('without a switch are shared in three ways', async () => {
    const ready = await withFile('request_deduplication: { ttl_ms: 600000 }', INSTANT, SLOW_START)
    expect(await pair(ready, { ...greedy, prompt: 'Both' })).toEqual(['computed', 'coalesced'])
    expect(await oneByOne(ready, greedy)).toEqual(['computed', 'cached'])
    expect(await oneByOne(ready, sampled)).toEqual(['computed', 'cached'])
  })

  test.each(['request_coalescing: { enabled: off }', 'cache: { coalescing: { enabled: false } }'])(
    '%s: requests at the same time are computed separately',
    async text => {
      const ready = await withFile(text, INSTANT, SLOW_START)
      expect(await pair(ready, { ...greedy, prompt: 'Both' })).toEqual(['computed', 'computed'])
      expect(await oneByOne(ready, greedy)).toEqual(['computed', 'cached'])
    },
  )

  test('request_deduplication: an answer that is not reproducible is computed again', async () => {
    const ready = await withFile('request_deduplication: { enabled: off }')
    expect(await oneByOne(ready, sampled)).toEqual(['computed', 'computed'])
    expect(await oneByOne(ready, greedy)).toEqual(['computed', 'cached'])
    expect(ready.engine.stats().cache).toMatchObject({ dedup: { hits: 0 }, promptCache: { hits: 1 } })
  })

  test('prompt_cache: an answer is cached for dedup alone', async () => {
    const ready = await withFile('prompt_cache: { enabled: off }\nrequest_deduplication: { ttl_ms: 600000 }')
    expect(await oneByOne(ready, greedy)).toEqual(['computed', 'cached'])
    expect(ready.engine.stats().cache).toMatchObject({ dedup: { hits: 1 }, promptCache: { hits: 0, misses: 0 } })
    const neither = await withFile('prompt_cache: { enabled: off }\nrequest_deduplication: { enabled: off }')
    expect(await oneByOne(neither, greedy)).toEqual(['computed', 'computed'])
  })

  test('request_coalescing.max_subscribers: the next request starts another generation', async () => {
    const ready = await withFile('request_coalescing: { max_subscribers: 1 }', INSTANT, SLOW_START)
    expect(await pair(ready, { ...greedy, prompt: 'Both' })).toEqual(['computed', 'computed'])
  })
})

test('prefix_cache: the beginning of a prompt is read again', async () => {
  const cached = async (text: string) => {
    const { engine, model } = await withFile(text, M3_MAX)
    const beginning = new Array(300).fill(5)
    const ask = (last: number) => engine.generate({ model, prompt: { tokens: [...beginning, last] }, maxTokens: 2 })
    await ask(6)
    return (await ask(7)).usage.cachedInputTokens
  }
  expect(await cached('')).toBeGreaterThan(200)
  expect(await cached('cache: { prefix_cache: { enabled: off } }')).toBe(0)
})

describe('the scheduler', () => {
  const crowd = async ({ engine, model }: Ready) => {
    const params = { ...(await longAnswer(40)), model, maxTokens: 40 }
    const others = Array.from({ length: 24 }, (_, n) => engine.generate({ ...params, cacheSalt: `${n}` }))
    await Promise.all(others)
    return engine.stats().models[0]
  }

  test.each(['generate_batcher: { adaptive_sizing: off }', 'scheduler: { auto_tune: { enabled: off } }'])(
    '%s: the batch limit does not change',
    async text => {
      expect((await crowd(await withFile('', M3_MAX))).batchLimitChanges).toBeGreaterThan(0)
      expect(await crowd(await withFile(text, M3_MAX))).toMatchObject({ batchLimit: 4, batchLimitChanges: 0 })
    },
  )

  test('scheduler.enabled: one request runs at a time', async () => {
    const { stepTimes } = await crowd(await withFile('scheduler: { enabled: off }', M3_MAX))
    expect(stepTimes.map(({ rows }) => rows)).toEqual([1])
  })

  test('fast_path and adaptive_window: every request waits for a fixed window', async () => {
    const admissionsOf = async (text: string) => {
      const { engine, model } = await withFile(text)
      for (let n = 0; n < 3; n++) await engine.generate({ model, prompt: `Number ${n}`, maxTokens: 3 })
      const { admissions, windowMs } = engine.stats().models[0]
      return { fastPath: admissions.fastPath, window: admissions.window, windowMs }
    }
    const before = await admissionsOf('')
    expect(before).toMatchObject({ fastPath: 3, window: 0 })
    const off = 'fast_path: off, adaptive_window: { enabled: off }, window_ms: 2.0'
    expect(await admissionsOf(`scheduler: { ${off} }`)).toEqual({ fastPath: 0, window: 3, windowMs: 2 })
    expect((await admissionsOf('scheduler: { fast_path: off }')).fastPath).toBe(0)
    expect(await admissionsOf('scheduler: { adaptive_window: { enabled: off }, window_ms: 3 }')).toMatchObject({
      fastPath: 3,
      windowMs: 3,
    })
  })

  test.each(['generation_retry: { enabled: off }', 'retry: { enabled: off }'])(
    '%s: a request whose step failed does not run again',
    async text => {
      const backend = { simulated: INSTANT, faults: [{ step: 0, kind: 'collect' as const }] }
      const ask = async (text: string) => {
        const { engine, model } = await withFile(text, INSTANT, { backend })
        return engine.generate({ model, prompt: 'Once', maxTokens: 3 })
      }
      expect((await ask('retry: { initial_delay_ms: 1 }')).text).not.toBe('')
      await expect(ask(text)).rejects.toMatchObject({ code: 'BackendError' })
    },
  )

  test('max_pending: one request more is refused', async () => {
    const { engine, model } = await withFile('scheduler: { max_pending: 1 }', M3_MAX)
    const first = engine.generate({ model, prompt: 'first', maxTokens: 4 })
    await expect(engine.generate({ model, prompt: 'second' })).rejects.toMatchObject({ code: 'Overloaded', limit: 1 })
    await first
  })
})
