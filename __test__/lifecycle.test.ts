// When models are unloaded: after a time without requests, to make room for another model, and by `unloadModel`, which
// gives running requests time to end.

import { createEngine, type Engine, type EngineOptions, ModelError } from 'mlx-serving'
import { expect, inject, onTestFinished, test } from 'vitest'
import { copiesOfDemo, smallModels } from './folders.js'
import { failure, INSTANT, longAnswer, M3_MAX, simulated, UNSHARED, until, withMlx } from './support.js'

const hello = { prompt: 'Hello', maxTokens: 3, ignoreEos: true }
const idleAfter = (idleUnloadMs: number): EngineOptions => ({ modelLifecycle: { idleUnloadMs } })

/** Bytes of the weights of the demo model. */
async function bytesOfDemo(): Promise<number> {
  const { engine, model } = await withMlx()
  await engine.dispose()
  return model.bytes
}

/** An engine with memory for `count` copies of the demo model, which are registered by these names. */
async function withRoomFor<N extends string>(count: number, names: N[], options: EngineOptions = {}): Promise<Engine> {
  const bytes = await bytesOfDemo()
  // An eighth of the memory is not for weights.
  const limitBytes = Math.ceil((bytes * (count + 0.4) * 8) / 7)
  const engine = await createEngine({ ...UNSHARED, ...options, memory: { limitBytes, kvBytes: 50_000_000 } })
  onTestFinished(() => engine.dispose())
  for (const folder of Object.values(await copiesOfDemo(...names)))
    await engine.registerModel({ path: folder as string })
  return engine
}

const ask = (engine: Engine, model: string) => engine.generate({ model, ...hello })
const loaded = (engine: Engine) =>
  engine
    .stats()
    .lifecycle.models.filter(({ state }) => state === 'loaded')
    .map(({ model }) => model)

test.each([
  ['MLX', withMlx],
  ['a simulated device', (options: EngineOptions) => simulated(INSTANT, options)],
])('a model without requests is unloaded, and the next request loads it again, on %s', async (_, open) => {
  const { engine, model } = await open(idleAfter(20))
  await ask(engine, 'demo')
  await until(() => model.state === 'unloaded')
  expect(model).toMatchObject({ loads: 1, unloads: { idle: 1 } })
  expect(engine.listModels()).toEqual([model])
  expect(engine.stats()).toMatchObject({ models: [], lifecycle: { unloads: { idle: 1 } } })
  expect((await engine.generate({ model, ...hello })).tokens).toHaveLength(3)
  expect(model.loads).toBe(2)
  expect(engine.getModelInfo('demo')).toBe(model)
})

test('weights and device memory are free after an unload', async () => {
  // In float32 a CPU has weights in memory of the engine's own, which are not in the figures of MLX.
  const { engine } = await withMlx({ precision: 'model' })
  const model = await engine.loadModel(inject('copies').float16)
  await engine.unloadModel('demo')
  await engine.unloadModel(model, { forget: false })
  const before = engine.stats().memory
  expect(before.weightBytes).toBe(0)
  for (let round = 0; round < 3; round++) {
    await engine.generate({ model, ...hello })
    const during = engine.stats().memory
    expect(during.weightBytes).toBe(model.bytes)
    expect(during.deviceBytes).toBeGreaterThanOrEqual((before.deviceBytes as number) + model.bytes)
    expect(during.freeWeightBytes).toBe((before.freeWeightBytes as number) - model.bytes)
    await engine.unloadModel(model, { forget: false })
    expect(engine.stats().memory).toMatchObject({ weightBytes: 0, deviceBytes: before.deviceBytes })
  }
})

test('a model with a running request is not idle', async () => {
  const { engine, model } = await simulated(M3_MAX, idleAfter(1))
  const params = { ...(await longAnswer(40)), model, maxTokens: 40 }
  await until(() => model.unloads.idle === 1)
  const { tokens } = await engine.generate(params)
  expect(tokens).toHaveLength(40)
  expect(model.loads).toBe(2)
  await until(() => model.state === 'unloaded')
  expect(model.unloads).toEqual({ unload: 0, idle: 2, evicted: 0, shutdown: 0 })
})

test('a pinned model stays loaded until it is unpinned or unloaded', async () => {
  const { other } = await copiesOfDemo('other')
  const { engine, model } = await simulated(INSTANT, idleAfter(20))
  const pinned = await engine.loadModel({ path: other, pin: true })
  expect([model.pinned, pinned.pinned]).toEqual([false, true])
  await until(() => model.state === 'unloaded')
  await ask(engine, 'demo')
  await until(() => model.unloads.idle === 2)
  expect(pinned).toMatchObject({ state: 'loaded', unloads: { idle: 0 } })
  engine.unpinModel('other')
  await until(() => pinned.state === 'unloaded')
  engine.pinModel(pinned)
  await ask(engine, 'other')
  await engine.unloadModel(pinned)
  expect(await failure(Promise.resolve().then(() => engine.pinModel('other')))).toMatchObject({
    code: 'ModelNotLoaded',
  })
})

test('with 0 an idle model stays loaded', async () => {
  const { engine, model } = await simulated(INSTANT, idleAfter(0))
  const { engine: other, model: witness } = await simulated(INSTANT, idleAfter(20))
  await Promise.all([ask(engine, 'demo'), ask(other, 'demo')])
  await until(() => witness.state === 'unloaded')
  expect(model.state).toBe('loaded')
})

test('a load that does not fit unloads the model that was not used for longest', async () => {
  const engine = await withRoomFor(2, ['a', 'b', 'c'])
  for (const model of ['a', 'b', 'a', 'c']) await ask(engine, model)
  expect(loaded(engine)).toEqual(['a', 'c'])
  await ask(engine, 'b')
  expect(loaded(engine)).toEqual(['b', 'c'])
  expect(engine.stats().lifecycle.unloads).toEqual({ unload: 0, idle: 0, evicted: 2, shutdown: 0 })
})

test('if only one of two models fits, requests for the other one load it in its place', async () => {
  const engine = await withRoomFor(1, ['a', 'b'])
  for (const model of ['a', 'b', 'a', 'b']) {
    const answers = await Promise.all([1, 2, 3].map(() => ask(engine, model)))
    expect(answers.every(({ tokens }) => tokens.length === 3)).toBe(true)
    expect(loaded(engine)).toEqual([model])
  }
  expect(engine.stats().lifecycle).toMatchObject({ loads: 4, unloads: { evicted: 3 } })
})

test('the error of a load that cannot fit names pinned and busy models, and no model is unloaded', async () => {
  const engine = await withRoomFor(3, ['a', 'b', 'c', 'd'])
  for (const model of ['a', 'b', 'c']) await ask(engine, model)
  engine.pinModel('a')
  engine.pinModel('c')
  const stream = engine.generate({ model: 'b', prompt: 'Hello', maxTokens: 900, ignoreEos: true })
  const chunks = stream[Symbol.asyncIterator]()
  await chunks.next()
  const error = await failure(ask(engine, 'd'))
  expect(error.code).toBe('InsufficientMemory')
  expect(error.message).toMatch(/\(pinned: a, c; busy: b\)$/)
  expect(error.requested as number).toBeGreaterThan(error.limit as number)
  expect(loaded(engine)).toEqual(['a', 'b', 'c'])
  await chunks.return?.()
  await ask(engine, 'd')
  expect(loaded(engine)).toEqual(['a', 'c', 'd'])
})

test('a load of a model that can never fit unloads no other model', async () => {
  const engine = await withRoomFor(1, ['a'])
  await ask(engine, 'a')
  const { large } = await copiesOfDemo('large')
  const none = await createEngine({ ...UNSHARED, memory: { limitBytes: 1_000 } })
  onTestFinished(() => none.dispose())
  expect(await failure(none.loadModel(large))).toMatchObject({ code: 'InsufficientMemory' })
  engine.pinModel('a')
  expect(await failure(engine.loadModel(large))).toMatchObject({ code: 'InsufficientMemory' })
  expect(loaded(engine)).toEqual(['a'])
  expect(engine.getModelInfo('large')).toBeUndefined()
})

test('without eviction a load that does not fit is refused', async () => {
  const engine = await withRoomFor(1, ['a', 'b'], { modelLifecycle: { evict: false } })
  await ask(engine, 'a')
  expect(await failure(ask(engine, 'b'))).toMatchObject({ code: 'InsufficientMemory' })
  expect(loaded(engine)).toEqual(['a'])
})

test('loads at the same time unload no more than they need', async () => {
  const engine = await withRoomFor(3, ['a', 'b', 'c', 'd', 'e'])
  for (const model of ['a', 'b', 'c']) await ask(engine, model)
  await Promise.all([ask(engine, 'd'), ask(engine, 'e')])
  expect(loaded(engine)).toEqual(['c', 'd', 'e'])
  expect(engine.stats().lifecycle.unloads.evicted).toBe(2)
})

test('the second of two loads that do not fit uses the memory that the first one has freed', async () => {
  // Beside the demo model there is less memory than a small model takes.
  const engine = await withRoomFor(0.62, ['a'])
  const small = Object.values(await smallModels('b', 'c'))
  await ask(engine, 'a')
  const handles = await Promise.all(small.map(folder => engine.loadModel(folder)))
  expect(handles.map(({ state }) => state)).toEqual(['loaded', 'loaded'])
  expect(loaded(engine)).toEqual(['b', 'c'])
  expect(engine.stats().lifecycle.unloads.evicted).toBe(1)
})

test('an unload ends a load that waits for the memory of another model', async () => {
  const engine = await withRoomFor(1, ['a', 'b'])
  const stream = engine.generate({ model: 'a', prompt: 'Hello', maxTokens: 900, ignoreEos: true })
  const chunks = stream[Symbol.asyncIterator]()
  await chunks.next()
  const drained = engine.unloadModel('a')
  const { failedLoads } = engine.stats().lifecycle
  const waiting = [ask(engine, 'b'), engine.tokenize({ model: 'b', text: 'Hello' })].map(failure)
  // Usually the addon has refused the load by then. The outcome is the same if it has not.
  await new Promise(resolve => setTimeout(resolve, 100))
  await engine.unloadModel('b')
  for (const error of await Promise.all(waiting)) expect(error).toMatchObject({ code: 'ModelNotLoaded' })
  expect(engine.stats().lifecycle).toMatchObject({ failedLoads: failedLoads + 1, unloads: { unload: 0 } })
  await chunks.return?.()
  await drained
  expect((await ask(engine, 'b')).tokens).toHaveLength(3)
})

test('a load waits for the memory of a model that is being unloaded', async () => {
  const engine = await withRoomFor(1, ['a', 'b'])
  const stream = engine.generate({ model: 'a', prompt: 'Hello', maxTokens: 200, ignoreEos: true })
  await stream[Symbol.asyncIterator]().next()
  const unloaded = engine.unloadModel('a')
  const next = ask(engine, 'b')
  expect((await stream).tokens).toHaveLength(200)
  await unloaded
  expect((await next).tokens).toHaveLength(3)
  expect(engine.stats().lifecycle.unloads).toMatchObject({ unload: 1, evicted: 0 })
})

test('requests that run after the time to drain end with an error, and keep what was delivered', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { ...(await longAnswer(200)), model }
  // The request that came first has a token once the other one has a chunk.
  const [waited, read] = [engine.generate(params), engine.generate(params)]
  const chunks = read[Symbol.asyncIterator]()
  expect((await chunks.next()).done).toBe(false)
  const failed = failure(waited)
  // The second call shortens the time of the first one.
  const unloads = [
    engine.unloadModel(model, { drainMs: 60_000, forget: false }),
    engine.unloadModel(model, { drainMs: 0 }),
  ]
  expect(await failed).toBeInstanceOf(ModelError)
  expect(await failed).toMatchObject({ code: 'ModelNotLoaded' })
  expect(((await failed).usage as { outputTokens: number }).outputTokens).toBeGreaterThan(0)
  let error: unknown
  while (error === undefined) await chunks.next().catch(reason => (error = reason))
  expect(error).toMatchObject({ code: 'ModelNotLoaded' })
  await Promise.all(unloads)
  expect(engine.stats()).toMatchObject({ running: 0, kvBytes: 0, errors: { ModelNotLoaded: 2 } })
  expect(model).toMatchObject({ state: 'unloaded', unloads: { unload: 1 } })
})

test.each([
  [{ drainMs: -1 }, 'drainMs'],
  [{ drainMs: 'soon' }, 'drainMs'],
  [{ forget: 1 }, 'forget'],
  [{ wait: true }, 'wait'],
])('wrong options of an unload are refused: %j', async (options, param) => {
  const { engine, model } = await simulated()
  const error = await failure(engine.unloadModel(model, options as never))
  expect(error).toMatchObject({ code: 'InvalidParams', param })
  expect(model.state).toBe('loaded')
})

test('a warm-up runs a short request', async () => {
  const { engine, model } = await withMlx({ modelLifecycle: { warmup: true } })
  expect(engine.stats()).toMatchObject({ promptTokens: 16, generatedTokens: 2, completed: 1 })
  await engine.warmupModel(model)
  expect(engine.stats()).toMatchObject({ promptTokens: 32, generatedTokens: 4 })
  await engine.unloadModel(model, { forget: false })
  await engine.warmupModel('demo')
  // Once for the load, once for the call.
  expect(engine.stats()).toMatchObject({ promptTokens: 64, generatedTokens: 8 })
  const { other } = await copiesOfDemo('other')
  await engine.loadModel({ path: other, warmup: false })
  expect(engine.stats().generatedTokens).toBe(8)
})

test('a shutdown unloads all models', async () => {
  const { engine, model } = await simulated()
  await engine.shutdown()
  expect(model).toMatchObject({ state: 'unloaded', unloads: { shutdown: 1 } })
  expect(engine.stats().lifecycle.unloads.shutdown).toBe(1)
})
