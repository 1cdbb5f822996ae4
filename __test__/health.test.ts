// engine.health(): the status of an engine in each state, and a device that does not finish a step.

import { createEngine, type Engine } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { Scrape } from './prometheus.js'
import { failure, IN_FLOAT32, INSTANT, longAnswer, M3_MAX, simulated, UNSHARED, until } from './support.js'

const codes = (engine: Engine) => engine.health().reasons.map(({ code }) => code)
const stuck = (engine: Engine) => new Scrape(engine.metrics()).sum('mlx_step_stuck')

test('an engine is live without a model, ready with one, and down after its end', async () => {
  const engine = await createEngine({ backend: { simulated: INSTANT } })
  onTestFinished(() => engine.dispose())
  const noModel = { code: 'noModel', message: 'no model is loaded' }
  expect(engine.health()).toEqual({ status: 'live', reasons: [noModel] })
  const model = await engine.loadModel()
  expect(engine.health()).toEqual({ status: 'ready', reasons: [] })
  await engine.unloadModel(model)
  expect(engine.health().status).toBe('live')
  await engine.shutdown()
  expect(engine.health().status).toBe('down')
  expect(codes(engine)[0]).toBe('closed')
})

test('an engine that is shutting down is down while its last requests run', async () => {
  const { engine, model } = await simulated(M3_MAX)
  // About 1 s of work: it still runs when the engine shuts down.
  const last = engine.generate({ model, prompt: 'Hello', maxTokens: 150, ignoreEos: true })
  await until(() => engine.stats().running === 1)
  const closing = engine.shutdown()
  expect([engine.health().status, engine.stats().running]).toEqual(['down', 1])
  await Promise.all([last, closing])
})

test('an engine that refuses requests is degraded until one has ended', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: 2 } })
  const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
  const running = [engine.generate(params), engine.generate(params)]
  expect(engine.health()).toMatchObject({ status: 'degraded', reasons: [{ code: 'queueFull' }] })
  expect((await failure(engine.generate(params))).code).toBe('Overloaded')
  await Promise.all(running)
  await until(() => engine.health().status === 'ready')
})

test('while a step is stuck, the engine is degraded and the reason names its model', async () => {
  const stall = { step: 6, kind: 'stall', ms: 2_500 } as const
  const { engine, model } = await simulated(INSTANT, {
    health: { stuckAfterMs: 500 },
    workers: { replaceStuck: false },
    backend: { simulated: INSTANT, faults: [stall] },
  })
  const answer = engine.generate({ ...(await longAnswer(20)), model, maxTokens: 20 })
  await until(() => engine.health().status === 'degraded')
  const [{ code, model: id, message }] = engine.health().reasons
  expect([code, id]).toEqual(['stuckStep', model.id])
  const described = /^a step of the model '.*' has run for (\d\.\d) s; steps like it should end within (\d\.\d) s$/
  const [took, limit] = described.exec(message)?.slice(1).map(Number) ?? []
  // The limit is `stuckAfterMs`, or ten times the time of earlier steps if that is more.
  expect(limit).toBeGreaterThanOrEqual(0.5)
  expect(took).toBeGreaterThanOrEqual(limit)
  expect(stuck(engine)).toBe(1)
  expect(new Scrape(engine.metrics()).sum('mlx_step_running_seconds')).toBeGreaterThan(0.5)
  expect((await answer).tokens.length).toBe(20)
  expect([engine.health().status, stuck(engine)]).toEqual(['ready', 0])
})

test('on MLX, an idle engine and one that generates are ready', async () => {
  const [, open] = IN_FLOAT32
  const { engine, model } = await open(UNSHARED)
  const answer = engine.generate({ model, prompt: 'Hello', maxTokens: 50 })
  await until(() => engine.stats().steps > 5)
  expect(engine.health()).toEqual({ status: 'ready', reasons: [] })
  await answer
  expect(engine.health()).toEqual({ status: 'ready', reasons: [] })
})

test('a stall fault needs `ms`, and other faults refuse it', async () => {
  const start = (fault: object) => failure(createEngine({ backend: { simulated: INSTANT, faults: [fault as never] } }))
  const missing = await start({ step: 1, kind: 'stall' })
  expect(missing).toMatchObject({ code: 'ConfigError', param: 'backend.faults[0].ms' })
  for (const ms of [0, 0.5, 3_600_001, '5']) {
    expect(await start({ step: 1, kind: 'stall', ms })).toMatchObject({
      code: 'ConfigError',
      param: 'backend.faults[0].ms',
    })
  }
  expect(await start({ step: 1, kind: 'panic', ms: 5 })).toMatchObject({ code: 'ConfigError' })
})
