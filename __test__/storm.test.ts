// Generations that are awaited, read, left, cancelled, aborted and timed out in any order: every one settles, none is
// counted twice, nothing keeps running, and the engine answers afterwards as before.

import type { Engine, GenerateParams } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { M3_MAX, read, simulated, until, withMlx } from './support.js'

/** The same numbers in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

/** Ways to treat a generation; each settles with it. */
const WAYS: ((engine: Engine, params: GenerateParams, n: number) => Promise<unknown>)[] = [
  async (engine, params) => engine.generate(params),
  (engine, params) => read(engine.generate(params)),
  (engine, params, n) => engine.generate(params, { timeoutMs: n }).catch(error => expect(error.code).toBe('Timeout')),
  async (engine, params, n) => {
    let chunks = 0
    for await (const _ of engine.generate(params)) if (chunks++ >= n % 5) break
  },
  async (engine, params, n) => {
    const generation = engine.generate(params)
    pause(n).then(() => generation.cancel())
    return generation
  },
  async (engine, params, n) => {
    await using generation = engine.generate(params)
    await pause(n)
    generation.cancel()
  },
  async (engine, params, n) => {
    const generation = engine.generate(params, { signal: AbortSignal.timeout(n) })
    await (n % 2 ? generation : read(generation)).then(
      () => {},
      error => expect(error.name).toBe('TimeoutError'),
    )
  },
  (engine, params, n) => read(engine.generate(params, { signal: AbortSignal.timeout(n), onAbort: 'stop' })),
  async (engine, params, n) => {
    for await (const item of engine.createGenerator(params))
      if (item.type === 'token' && item.tokenId % 7 === n % 7) break
  },
]

describe.each([
  ['with MLX', withMlx],
  ['simulated', () => simulated(M3_MAX, { streaming: { bufferTokens: 4 } })],
  ['simulated without delay', () => simulated()],
])('%s', (_, ready) => {
  test('three hundred generations treated at random all settle', async () => {
    const { engine, model } = await ready()
    const next = numbers(41)
    const reference = { model, prompt: 'What is 12 + 7?', maxTokens: 12, temperature: 0 }
    const before = await engine.generate(reference)
    const storm = Array.from({ length: 300 }, async () => {
      const [way, delay] = [WAYS[next(WAYS.length)], next(120)]
      const params = {
        model,
        prompt: `Tell me ${next(50)} things`,
        maxTokens: 1 + next(60),
        temperature: 1,
        seed: next(1000),
      }
      await pause(next(200))
      await way(engine, params, delay)
    })
    await Promise.all(storm)
    await until(() => engine.stats().running + engine.stats().queued === 0)
    const { requests, completed, cancelled, failed, parked } = engine.stats()
    expect([requests, parked]).toEqual([301, 0])
    expect(completed + cancelled + failed).toBe(301)
    expect((await engine.generate(reference)).text).toBe(before.text)
  })
})
