// More than the engine can take: what is refused is refused at once, typed and with a time to come back; what was accepted
// is served as if nobody else had asked; and afterwards everything is as before.

import { type Engine, type ModelHandle, OverloadedError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { longAnswer, M3_MAX, simulated } from './support.js'

const CAPACITY = 32

/** Asks for so many answers at once; how they ended, in the order in which they did. */
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

test('ten times as much as fits costs those who were accepted nothing', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxQueue: CAPACITY } })
  // The first flood teaches the engine how wide to run.
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

test('who is refused is told when a place is free, later the more were refused before', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxQueue: CAPACITY } })
  await flood(engine, model, CAPACITY)
  const ends = await flood(engine, model, 3 * CAPACITY)
  const waits = ends.flatMap(end => (end instanceof OverloadedError ? [end.retryAfterMs as number] : []))
  expect(waits.length).toBe(2 * CAPACITY)
  expect(waits).toEqual([...waits].sort((one, other) => one - other))
  expect(waits.at(-1)).toBeGreaterThan(waits[0])
})
