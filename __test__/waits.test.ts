// Requests that would wait too long are refused: with `maxWaitMs` at any time, without it only in a lasting overload.

import { OverloadedError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { longAnswer, M3_MAX, simulated, until } from './support.js'

const ROWS = 32

/**
 * An engine that has measured how long an answer of 20 tokens takes with a full batch. Its batch limit is fixed,
 * because auto-tune follows the step times of a busy machine.
 */
async function warm(scheduler: { maxPending: number; maxWaitMs?: number }) {
  const fixed = { batchSize: ROWS, autoTune: { enabled: false } }
  const { engine, model } = await simulated(M3_MAX, { scheduler: { ...scheduler, ...fixed } })
  const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
  await Promise.all(Array.from({ length: ROWS }, () => engine.generate(params)))
  return { engine, params }
}

test('a thousand requests at once on an idle engine are all answered', async () => {
  const { engine, model } = await simulated(undefined)
  const ask = (n: number) => engine.generate({ model, prompt: `Tell me ${n} things`, maxTokens: 3, cache: 'off' })
  await Promise.all(Array.from({ length: 1000 }, (_, n) => ask(n)))
  expect(engine.stats()).toMatchObject({ submitted: 1000, completed: 1000, rejected: { pending: 0, wait: 0 } })
})

test('of a burst, maxWaitMs accepts the requests that start in time, and refuses the others at once', async () => {
  const { engine, params } = await warm({ maxPending: 1000, maxWaitMs: 300 })
  const asked = Array.from({ length: 500 }, () => engine.generate(params))
  const ends = await Promise.allSettled(asked.map(generation => generation.then(() => 'answered')))
  const refused = ends.flatMap(end => (end.status === 'rejected' ? [end.reason] : []))
  expect(refused.length).toBeGreaterThan(300)
  for (const error of refused) {
    expect(error).toBeInstanceOf(OverloadedError)
    expect(error.message).toMatch(/^this request would wait for about \d+ ms, and may wait for 300 ms$/)
    expect(error.limit).toBe(300)
    expect(error.requested).toBeGreaterThan(300)
    expect(Number.isInteger(error.retryAfterMs) && error.retryAfterMs > 0).toBe(true)
  }
  const { submitted, completed, rejected } = engine.stats()
  expect(completed).toBeGreaterThanOrEqual(2 * ROWS)
  expect(rejected).toMatchObject({ pending: 0, wait: refused.length })
  expect(completed + refused.length).toBe(submitted)
})

test('an urgent request is accepted where others would wait too long', async () => {
  const { engine, params } = await warm({ maxPending: 1000, maxWaitMs: 300 })
  const others = Array.from({ length: 200 }, () => engine.generate(params).catch(error => error))
  await until(() => engine.stats().rejected.wait > 0)
  await engine.generate(params, { priority: 'urgent' })
  const ends = await Promise.all(others)
  expect(ends.some(end => end instanceof OverloadedError)).toBe(true)
})

test('a request that cannot be answered before its deadline is refused at once', async () => {
  const { engine, params } = await warm({ maxPending: 1000, maxWaitMs: 3_600_000 })
  const others = Array.from({ length: 3 * ROWS }, () => engine.generate(params))
  const late = engine.generate(params, { timeoutMs: 500 })
  await expect(late).rejects.toBeInstanceOf(OverloadedError)
  expect(engine.stats().rejected.wait).toBe(1)
  await Promise.all(others)
})
