// Prefetch: models are loaded before their requests, if they follow often enough, while the engine is idle, and into
// free memory only.

import { createEngine, type Engine, type EngineOptions } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { copiesOfDemo } from './folders.js'
import { failure, INSTANT, UNSHARED, until } from './support.js'

const ask = (engine: Engine, model: string) =>
  engine.generate({ model, prompt: 'Hello', maxTokens: 2, ignoreEos: true })
const prefetch = { enabled: true }

/** An engine with these models, which has learned that they are asked for in turn. */
async function trained(names: string[], options: EngineOptions): Promise<Engine> {
  const engine = await createEngine({ ...UNSHARED, ...options })
  onTestFinished(() => engine.dispose())
  for (const folder of Object.values(await copiesOfDemo(...names))) await engine.registerModel({ path: folder })
  for (let round = 0; round < 4; round++) for (const name of names) await ask(engine, name)
  return engine
}

const unloadAll = (engine: Engine) => Promise.all(engine.listModels().map(model => engine.unloadModel(model)))
const statesOf = (engine: Engine) =>
  Object.fromEntries(engine.stats().lifecycle.models.map(({ model, state }) => [model, state]))
const onSim = (modelLifecycle: EngineOptions['modelLifecycle']): EngineOptions => ({
  backend: { simulated: INSTANT },
  modelLifecycle,
})

test('the model that follows is loaded once the engine is idle, and counted when it is used', async () => {
  const engine = await trained(['a', 'b'], onSim({ prefetch }))
  await unloadAll(engine)
  await ask(engine, 'a')
  await until(() => engine.getModelInfo('b')?.state === 'loaded')
  expect(engine.stats().lifecycle).toMatchObject({ prefetches: 1, usedPrefetches: 0 })
  const { misses } = engine.stats().lifecycle
  await ask(engine, 'b')
  await ask(engine, 'b')
  expect(engine.stats().lifecycle).toMatchObject({ prefetches: 1, usedPrefetches: 1, misses })
})

test('at most as many models are loaded ahead as allowed', async () => {
  for (const maxModels of [1, 2]) {
    const engine = await trained(['a', 'b', 'c', 'd'], onSim({ prefetch: { ...prefetch, maxModels } }))
    await unloadAll(engine)
    await ask(engine, 'a')
    await until(() => engine.stats().lifecycle.prefetches === maxModels)
    const expected = { a: 'loaded', b: 'loaded', c: maxModels > 1 ? 'loaded' : 'unloaded', d: 'unloaded' }
    expect(statesOf(engine)).toEqual(expected)
    await ask(engine, 'a')
    expect(statesOf(engine)).toEqual(expected)
  }
})

test.each<[string, EngineOptions['modelLifecycle']]>([
  ['it is off, as by default', {}],
  ['no model follows often enough', { prefetch }],
])('nothing is loaded ahead if %s', async (_, modelLifecycle) => {
  const engine = await trained(['a', 'b'], onSim(modelLifecycle))
  const { other } = await copiesOfDemo('other')
  await engine.registerModel({ path: other })
  for (let round = 0; round < 4; round++) for (const name of ['a', 'other']) await ask(engine, name)
  await unloadAll(engine)
  await ask(engine, 'a')
  expect(statesOf(engine)).toEqual({ a: 'loaded', b: 'unloaded', other: 'unloaded' })
  expect(engine.stats().lifecycle.prefetches).toBe(0)
})

test('nothing is loaded ahead while requests run', async () => {
  const engine = await trained(['a', 'b'], onSim({ prefetch }))
  await unloadAll(engine)
  const stream = engine.generate({ model: 'a', prompt: 'Hello', maxTokens: 2_000, ignoreEos: true })
  const chunks = stream[Symbol.asyncIterator]()
  await chunks.next()
  await ask(engine, 'a')
  expect(statesOf(engine)).toEqual({ a: 'loaded', b: 'unloaded' })
  await chunks.return?.()
  await until(() => statesOf(engine).b === 'loaded')
})

test('a model is loaded ahead into free memory only', async () => {
  const probe = await createEngine()
  const { bytes } = await probe.loadModel()
  await probe.dispose()
  const limitBytes = Math.ceil((bytes * 1.4 * 8) / 7)
  const engine = await trained(['a', 'b'], {
    memory: { limitBytes, kvBytes: 50_000_000 },
    modelLifecycle: { prefetch },
  })
  const { unloads } = engine.stats().lifecycle
  await ask(engine, 'b')
  await ask(engine, 'a')
  expect(statesOf(engine)).toEqual({ a: 'loaded', b: 'unloaded' })
  expect(engine.stats().lifecycle).toMatchObject({ prefetches: 0, unloads: { evicted: unloads.evicted + 1 } })
})

test('a load ahead ends when another load needs its memory', async () => {
  const probe = await createEngine()
  const { bytes } = await probe.loadModel()
  await probe.dispose()
  const limitBytes = Math.ceil((bytes * 2.4 * 8) / 7)
  const engine = await trained(['a', 'b', 'c'], {
    memory: { limitBytes, kvBytes: 50_000_000 },
    modelLifecycle: { prefetch },
  })
  for (let round = 0; round < 5; round++) {
    await unloadAll(engine)
    engine.unpinModel('a')
    await ask(engine, 'a')
    // The load of b ahead of its request is under way or has ended.
    engine.pinModel('a')
    expect((await ask(engine, 'c')).tokens).toHaveLength(2)
    expect(statesOf(engine)).toMatchObject({ a: 'loaded', c: 'loaded' })
  }
  expect(await failure(ask(engine, 'nothing'))).toMatchObject({ code: 'ModelNotLoaded' })
})
