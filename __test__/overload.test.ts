// More requests than the engine accepts: the others are refused at once, with a typed error and a time to retry.
// Accepted requests are not affected, and afterwards the engine works as before.

import { type Engine, type ModelHandle, OverloadedError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { longAnswer, M3_MAX, type Ready, simulated } from './support.js'

const CAPACITY = 32
const ANSWER_TOKENS = 20

/** Each accepted request has a row at once, whatever step times the engine measures. */
const OPTIONS = { scheduler: { maxPending: CAPACITY, batchSize: CAPACITY, autoTune: { enabled: false } } }

/** How a request ended, and the times before and after its call. */
interface End {
  error?: Error
  before: number
  after: number
}

/** Makes many requests at once. Returns how they ended, in the order of their ends. */
async function flood(engine: Engine, model: ModelHandle, count: number): Promise<End[]> {
  const params = { ...(await longAnswer(ANSWER_TOKENS)), model, maxTokens: ANSWER_TOKENS }
  const ends: End[] = []
  const ask = () => {
    const before = performance.now()
    const generation = engine.generate(params)
    const after = performance.now()
    return generation.then(
      () => ends.push({ before, after }),
      error => ends.push({ error, before, after }),
    )
  }
  await Promise.all(Array.from({ length: count }, ask))
  return ends
}

/** What the device does meanwhile. */
async function workOf({ engine }: Ready, work: () => Promise<unknown>) {
  const before = engine.stats()
  await work()
  const after = engine.stats()
  return {
    steps: after.steps - before.steps,
    promptTokens: after.promptTokens - before.promptTokens,
    generatedTokens: after.generatedTokens - before.generatedTokens,
  }
}

test('ten times as many requests as fit cause no more work than the accepted ones', async () => {
  const ready = await simulated(M3_MAX, OPTIONS)
  const { engine, model } = ready
  const atCapacity = await workOf(ready, () => flood(engine, model, CAPACITY))
  let ends: End[] = []
  const overloaded = await workOf(ready, async () => {
    ends = await flood(engine, model, 10 * CAPACITY)
  })
  const errors = ends.map(({ error }) => error)
  expect(errors.slice(0, 9 * CAPACITY).every(error => error instanceof OverloadedError)).toBe(true)
  expect(errors.slice(9 * CAPACITY)).toEqual(new Array(CAPACITY).fill(undefined))
  const afterwards = await workOf(ready, () => flood(engine, model, CAPACITY))
  for (const { steps, promptTokens, generatedTokens } of [atCapacity, overloaded, afterwards]) {
    expect(promptTokens).toBe(atCapacity.promptTokens)
    expect(generatedTokens).toBe(CAPACITY * ANSWER_TOKENS)
    // A step has four rows or more on average. The order in which requests arrive changes the number of steps.
    expect(steps).toBeLessThan((CAPACITY * ANSWER_TOKENS) / 4)
  }
  expect(engine.stats()).toMatchObject({ queued: 0, running: 0, completed: 3 * CAPACITY })
})

test('a refused request gets a retry time, which grows with the number of refusals before it', async () => {
  const { engine, model } = await simulated(M3_MAX, OPTIONS)
  await flood(engine, model, CAPACITY)
  const ends = await flood(engine, model, 3 * CAPACITY)
  const refused = ends.flatMap(({ error, before, after }) => {
    if (!(error instanceof OverloadedError)) return []
    const wait = error.retryAfterMs as number
    // The engine rounds up to whole milliseconds, and has read its clock during the call.
    return [{ wait, earliest: before + wait - 1, latest: after + wait }]
  })
  expect(refused.length).toBe(2 * CAPACITY)
  for (const [n, { latest }] of refused.slice(1).entries()) expect(latest).toBeGreaterThanOrEqual(refused[n].earliest)
  expect(refused.at(-1)?.wait).toBeGreaterThan(refused[0].wait)
})
