// Shutdown: running requests may end, the rest fails, and afterwards every call fails with EngineClosed.

import { EngineClosedError, InvalidParamsError } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { ENDLESS, failure, longAnswer, M3_MAX, read, simulated, until, withMlx } from './support.js'

test('shutdown lets running and queued generations end', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { batchSize: 2, autoTune: { enabled: false } } })
  const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
  const generations = Array.from({ length: 5 }, () => engine.generate(params))
  const streamed = read(generations[0])
  await until(() => engine.stats().generatedTokens > 0)
  await engine.shutdown()
  const results = await Promise.all(generations)
  expect(results.map(({ tokens }) => tokens.length)).toEqual([20, 20, 20, 20, 20])
  expect((await streamed).text).toBe(results[0].text)
})

describe.each([
  ['with MLX', withMlx],
  ['simulated', () => simulated(M3_MAX)],
])('%s', (_, ready) => {
  test('closing while fifty streams run ends every one of them', async () => {
    const { engine, model } = await ready()
    const params = { model, maxTokens: 400, ignoreEos: true, temperature: 1 }
    const generations = Array.from({ length: 50 }, (_, n) =>
      engine.generate({ ...params, prompt: `Tell me ${n} things`, seed: n }),
    )
    const reads = generations.map(generation => read(generation).catch(error => error))
    await until(() => engine.stats().generatedTokens > 0)
    await engine.dispose()
    const ends = await Promise.all(
      generations.map(generation =>
        generation.then(
          () => 'ended',
          error => error.code,
        ),
      ),
    )
    expect(ends.every(end => end === 'ended' || end === 'EngineClosed')).toBe(true)
    expect(ends).toContain('EngineClosed')
    const outcomes = await Promise.all(reads)
    for (const [n, outcome] of outcomes.entries()) {
      if (ends[n] === 'EngineClosed') expect(outcome).toBeInstanceOf(EngineClosedError)
    }
  })
})

test('a generation that does not end within drainMs fails', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const failed = failure(engine.generate({ ...ENDLESS, model }))
  await engine.shutdown({ drainMs: 20 })
  expect(await failed).toBeInstanceOf(EngineClosedError)
})

test('shutting down again waits for the same end', async () => {
  const { engine } = await simulated()
  await Promise.all([
    engine.shutdown(),
    engine.shutdown({ drainMs: 5 }),
    engine.dispose(),
    engine[Symbol.asyncDispose](),
  ])
  await engine.shutdown()
})

test('a second call may shorten drainMs', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const failed = failure(engine.generate({ ...ENDLESS, model }))
  const patient = engine.shutdown({ drainMs: 10 * 60_000 })
  await engine.dispose()
  await patient
  expect(await failed).toBeInstanceOf(EngineClosedError)
})

test.each([-1, Number.NaN, '5'])('drainMs %j is refused, and the engine goes on', async drainMs => {
  const { engine, model } = await simulated()
  const error = await failure(engine.shutdown({ drainMs: drainMs as never }))
  expect(error).toBeInstanceOf(InvalidParamsError)
  expect(error.param).toBe('drainMs')
  expect((await engine.generate({ model, prompt: 'Hello', maxTokens: 1 })).tokens.length).toBe(1)
})

test('after shutdown every member but stats fails with EngineClosed', async () => {
  const { engine, model } = await simulated()
  const closing = engine.shutdown()
  const calls = [
    engine.generate({ model, prompt: 'Hello' }),
    engine.createGenerator({ model, prompt: 'Hello' }).next(),
    engine.loadModel(),
    engine.unloadModel(model),
    engine.tokenize({ model, text: 'a' }),
    engine.detokenize({ model, tokens: [1] }),
    engine.applyChatTemplate({ model, messages: [{ role: 'user', content: 'a' }] }),
  ].map(failure)
  for (const error of await Promise.all(calls)) expect(error).toBeInstanceOf(EngineClosedError)
  await closing
  expect(() => engine.config()).toThrow(EngineClosedError)
  expect(engine.stats()).toMatchObject({ submitted: 0, running: 0 })
  expect(() => engine.listModels()).toThrow(EngineClosedError)
  expect(() => engine.getModelInfo(model)).toThrow(EngineClosedError)
  expect(await failure(engine.generate({ model, prompt: 'Hello' }))).toBeInstanceOf(EngineClosedError)
  expect(model.state).toBe('unloaded')
})

test('a load in progress settles when the engine is closed', async () => {
  const { engine, model } = await simulated()
  await engine.unloadModel(model)
  const load = engine.loadModel().then(
    () => 'loaded',
    error => error.code,
  )
  await engine.dispose()
  expect(['loaded', 'EngineClosed']).toContain(await load)
})

test('many engines can start and stop in a row', async () => {
  for (let n = 0; n < 20; n++) {
    const { engine, model } = await simulated()
    await engine.generate({ model, prompt: 'Hello', maxTokens: 2 })
    await engine.shutdown()
  }
})
