// Generations that are awaited, read, left, cancelled, aborted and timed out in random order: each settles and is counted
// once, no work keeps running, and the engine works as before.

import type { Engine, EngineStats, GenerateParams } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { IN_FLOAT32, IN_OWN_PRECISION, M3_MAX, type Ready, read, simulated, until } from './support.js'

/** A random generator with a fixed seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** Requests that have not ended. A request that was left may still be prepared. */
const numOpen = ({ preparing, queued, running, joined }: EngineStats) => preparing + queued + running + joined

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

/** Ways to use a generation. Each settles when the generation does. */
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

/** Half precision is slow on a CPU. */
const few = IN_OWN_PRECISION.map(([name, open]) => [name, 60, open] as const)

describe.each<readonly [string, number, () => Promise<Ready>]>([
  [IN_FLOAT32[0], 300, IN_FLOAT32[1]],
  ...few,
  ['simulated', 100, () => simulated(M3_MAX, { streaming: { bufferTokens: 4 } })],
  ['simulated without delay', 300, () => simulated()],
])('%s', (_, count, ready) => {
  test('generations that are used at random all settle', async () => {
    const { engine, model } = await ready()
    const next = numbers(41)
    const reference = { model, prompt: 'What is 12 + 7?', maxTokens: 12, temperature: 0 }
    const before = await engine.generate(reference)
    const storm = Array.from({ length: count }, async () => {
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
    await until(() => numOpen(engine.stats()) === 0)
    const { requests, completed, cancelled, failed, parked } = engine.stats()
    expect([requests, parked]).toEqual([count + 1, 0])
    expect(completed + cancelled + failed).toBe(count + 1)
    expect((await engine.generate(reference)).text).toBe(before.text)
  })
})

test('ten thousand generations cancelled at any stage leave no row, memory or permit behind', async () => {
  const MAX_PENDING = 500
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: MAX_PENDING } })
  const next = numbers(43)
  const ask = (maxTokens: number) =>
    engine.generate({ model, prompt: `Tell me ${next(50)} things`, temperature: 1, seed: next(1000), maxTokens })
  for (let wave = 0; wave < 10_000 / MAX_PENDING; wave++) {
    const generations = Array.from({ length: MAX_PENDING }, async () => {
      const generation = ask(1 + next(100))
      // During preparation, in the queue, while it runs, or after its end.
      for (let turns = next(8); turns > 0; turns--) await new Promise(setImmediate)
      if (next(2)) generation.cancel()
      else await generation[Symbol.asyncDispose]()
      await Promise.allSettled([generation])
    })
    await Promise.all(generations)
    // Generations that were left unread end in the next turn of the engine.
    await until(() => numOpen(engine.stats()) === 0)
  }
  expect(engine.stats()).toMatchObject({ requests: 10_000, queued: 0, running: 0, parked: 0, failed: 0 })
  await until(() => engine.stats().kvBytes === 0)
  // As many permits as at the start.
  const all = Array.from({ length: MAX_PENDING + 1 }, () => ask(5))
  await expect(all[MAX_PENDING]).rejects.toThrow('500 requests are pending')
  for (const generation of all) generation.cancel()
  const ends = await Promise.allSettled(all)
  expect(ends.filter(({ status }) => status === 'rejected').length).toBe(1)
})
