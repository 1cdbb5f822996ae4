// More requests than the engine accepts: some are refused at once, with a typed error and a time to retry. Accepted ones are
// not affected, and afterwards the engine works as before.

import { type Engine, type ModelHandle, OverloadedError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { longAnswer, M3_MAX, simulated } from './support.js'

const CAPACITY = 32

/** Makes many requests at once. Returns how they ended, in the order of their ends. */
async function flood(engine: Engine, model: ModelHandle, count: number): Promise<(Error | 'completed')[]> {
  const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
  const ends: (Error | 'completed')[] = []
  const ask = () =>
    engine.generate(params).then(
      () => ends.push('completed'),
      error => ends.push(error),
    )
  await Promise.all(Array.from({ length: count }, ask))
  return ends
}

const stepsOf = async (engine: Engine, work: () => Promise<unknown>) => {
  const before = engine.stats().steps
  await work()
  return engine.stats().steps - before
}

test('ten times as many requests as fit do not slow the accepted ones', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: CAPACITY } })
  // During the first flood the engine tunes its batch limit.
  await flood(engine, model, CAPACITY)
  const atCapacity = await stepsOf(engine, () => flood(engine, model, CAPACITY))
  let ends: (Error | 'completed')[] = []
  const overloaded = await stepsOf(engine, async () => {
    ends = await flood(engine, model, 10 * CAPACITY)
  })
  const refused = ends.slice(0, 9 * CAPACITY)
  expect(refused.every(end => end instanceof OverloadedError)).toBe(true)
  expect(ends.slice(9 * CAPACITY)).toEqual(new Array(CAPACITY).fill('completed'))
  expect(overloaded).toBeLessThanOrEqual(1.5 * atCapacity)
  const afterwards = await stepsOf(engine, () => flood(engine, model, CAPACITY))
  expect(afterwards).toBeLessThanOrEqual(1.5 * atCapacity)
  expect(engine.stats()).toMatchObject({ queued: 0, running: 0, completed: 4 * CAPACITY })
})

test('a refused request gets a retry time, which grows with the number of refusals before it', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: CAPACITY } })
  await flood(engine, model, CAPACITY)
  const ends = await flood(engine, model, 3 * CAPACITY)
  const waits = ends.flatMap(end => (end instanceof OverloadedError ? [end.retryAfterMs as number] : []))
  expect(waits.length).toBe(2 * CAPACITY)
  expect(waits).toEqual([...waits].sort((one, other) => one - other))
  expect(waits.at(-1)).toBeGreaterThan(waits[0])
})
