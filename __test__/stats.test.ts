// engine.stats(): each refused or failed request has an error code, steps agree with those of the models, and the last
// snapshot stays after the shutdown.

import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Engine, EngineStats, SimulatedFault } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { ENDLESS, failure, INSTANT, longAnswer, M3_MAX, ROOT, simulated, until } from './support.js'

const sum = (counts: object) => Object.values(counts).reduce((total: number, count: number) => total + count, 0)

const open = ({ preparing, queued, running, joined }: EngineStats) => preparing + queued + running + joined

/** Each request is counted once, and each error has a code. */
function addsUp(stats: EngineStats): void {
  const { submitted, completed, failed, cancelled, rejected, errors } = stats
  expect(submitted, JSON.stringify(stats)).toBe(completed + failed + cancelled + sum(rejected) + open(stats))
  expect(errors.Overloaded ?? 0).toBe(sum(rejected))
  expect(sum(errors)).toBe(failed + sum(rejected))
}

const failing = (profile: string, options: object, ...faults: SimulatedFault[]) =>
  simulated(profile, { ...options, backend: { simulated: profile, faults } })

const idle = (engine: Engine) => until(() => open(engine.stats()) === 0)

test('errors are counted by code, and agree with failed and rejected', async () => {
  const { engine, model } = await failing(M3_MAX, { scheduler: { maxPending: 2 } }, { step: 1, kind: 'collect' })
  expect(engine.stats().errors).toEqual({})
  const ask = (timeoutMs?: number) => engine.generate({ model, prompt: 'Hello', maxTokens: 20 }, { timeoutMs })
  expect(await failure(ask())).toMatchObject({ code: 'BackendError' })
  for (let n = 0; n < 2; n++) expect(await failure(ask(1))).toMatchObject({ code: 'Timeout' })
  // Waits until the places of these requests are free.
  await idle(engine)
  const [cancelled, whole] = [engine.generate({ ...ENDLESS, model }), ask()]
  expect(await failure(ask())).toMatchObject({ code: 'Overloaded' })
  cancelled.cancel()
  await Promise.all([cancelled, whole])
  const tooLong = engine.generate({ model, prompt: 'Hello', maxTokens: 2 ** 20, minTokens: 2 ** 20 })
  expect(await failure(tooLong)).toMatchObject({ code: 'ContextLengthExceeded' })
  // The engine checks the deadlines of waiting requests between steps.
  await until(() => engine.stats().failed === 4)
  const stats = engine.stats()
  expect(stats.errors).toEqual({ BackendError: 1, ContextLengthExceeded: 1, Overloaded: 1, Timeout: 2 })
  expect(stats).toMatchObject({ rejected: { pending: 1 }, failed: 4, cancelled: 1, completed: 1 })
  addsUp(stats)
})

test('a call that fails before it is submitted is not counted', async () => {
  const { engine, model } = await simulated()
  const error = await failure(engine.generate({ model, prompt: 'Hello', maxTokens: -1 }))
  expect(error).toMatchObject({ code: 'InvalidParams' })
  expect(engine.stats()).toMatchObject({ submitted: 0, errors: {} })
})

test('all answers to a refused request are counted', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: 3 } })
  const ask = (n: number) => engine.generate({ model, prompt: 'Hello', maxTokens: 2, n })
  await Promise.all([ask(2), failure(ask(2)), failure(ask(3))])
  expect(engine.stats().errors).toEqual({ Overloaded: 5 })
  addsUp(engine.stats())
})

test('the steps of the engine are those of its models, also after failures, aborts and an unload', async () => {
  const faults: SimulatedFault[] = (['submit', 'collect', 'logits', 'memory', 'panic'] as const).map((kind, n) => ({
    step: 3 * n + 2,
    kind,
  }))
  const { engine, model } = await failing(INSTANT, {}, ...faults)
  const copy = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(copy, { recursive: true }))
  await cp(path.join(ROOT, 'models', 'demo'), copy, { recursive: true })
  const other = await engine.loadModel(copy)
  const ofModels = () => engine.stats().models.reduce((total, { steps }) => total + steps, 0)
  const params = { ...(await longAnswer(20)), maxTokens: 20 }
  for (const used of [model, other]) {
    for (let n = 0; n < 8; n++) await engine.generate({ ...params, model: used }).catch(() => {})
    for await (const _ of engine.generate({ ...params, model: used })) break
  }
  await idle(engine)
  const before = engine.stats()
  expect(before.failed).toBeGreaterThan(4)
  expect(before.steps).toBe(ofModels())
  const stepsOfOther = before.models[1].steps
  await engine.unloadModel(other)
  expect(engine.stats().steps).toBe(before.steps)
  expect(ofModels()).toBe(before.steps - stepsOfOther)
  expect(engine.stats().meanBatch).toBe(before.meanBatch)
})

test('a sample that is taken while requests run agrees with its models', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const requests = [engine.generate({ ...ENDLESS, model }), engine.generate({ ...ENDLESS, model })]
  let isDone = false
  const all = Promise.all(requests).then(() => (isDone = true))
  for (let samples = 0; !isDone; samples++) {
    if (samples === 300) for (const request of requests) request.cancel()
    const stats = engine.stats()
    expect(stats.steps).toBe(stats.models[0].steps)
    addsUp(stats)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  await all
})

test('after the shutdown the last snapshot has the final counters', async () => {
  const { engine, model } = await simulated(M3_MAX)
  await engine.generate({ model, prompt: 'Hello', maxTokens: 3 })
  const { steps } = engine.stats()
  const cut = failure(engine.generate({ ...ENDLESS, model }))
  await until(() => engine.stats().running === 1)
  await engine.shutdown({ drainMs: 0 })
  expect(await cut).toMatchObject({ code: 'EngineClosed' })
  const final = engine.stats()
  expect(final).toMatchObject({ submitted: 2, completed: 1, failed: 1, errors: { EngineClosed: 1 } })
  expect(final).toMatchObject({ running: 0, queued: 0, joined: 0, preparing: 0, parked: 0, kvBytes: 0, models: [] })
  expect(final.steps).toBeGreaterThanOrEqual(steps)
  addsUp(final)
  await failure(engine.generate({ model, prompt: 'Hello' }))
  expect(engine.stats()).toEqual(final)
})

test('the statistics go on while running requests end', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const running = engine.generate({ ...ENDLESS, model, maxTokens: 150 })
  await until(() => engine.stats().running === 1)
  const closing = engine.shutdown()
  expect(engine.stats()).toMatchObject({ running: 1, completed: 0 })
  expect(engine.stats().models[0].model).toBe(model.id)
  await Promise.all([running, closing])
  expect(engine.stats()).toMatchObject({ running: 0, completed: 1, errors: {} })
})

test('an engine without requests has statistics after its end', async () => {
  const { engine } = await simulated()
  await engine.dispose()
  expect(engine.stats()).toMatchObject({ submitted: 0, steps: 0, errors: {}, models: [] })
})
