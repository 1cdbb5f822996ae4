// Models that requests load: registered ones, and those that were unloaded. A request waits for the load like any other
// pending request.

import { rename } from 'node:fs/promises'
import path from 'node:path'
import { createEngine, type Engine, EngineClosedError, type EngineOptions, type LoadProgress } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { copiesOfDemo } from './folders.js'
import { failure, INSTANT, longAnswer, M3_MAX, read, simulated, UNSHARED, until, withMlx } from './support.js'

const hello = { prompt: 'Hello', maxTokens: 3, ignoreEos: true }

/** An engine that knows the demo model as `'demo'`, and has not loaded it. */
async function registered(options: EngineOptions = {}): Promise<Engine> {
  const engine = await createEngine({ ...UNSHARED, ...options })
  onTestFinished(() => engine.dispose())
  expect(await engine.registerModel({})).toBe('demo')
  return engine
}

const onSim = (options: EngineOptions = {}) => registered({ backend: { simulated: INSTANT }, ...options })
const demoOf = (engine: Engine) => engine.stats().lifecycle.models.find(({ model }) => model === 'demo')

/** All requests are counted in one state. */
function expectSum(engine: Engine): void {
  const stats = engine.stats()
  const { submitted, completed, failed, cancelled, rejected, preparing, queued, running, joined } = stats
  const refused = Object.values(rejected).reduce((sum, count) => sum + count, 0)
  expect(completed + failed + cancelled + refused + preparing + queued + running + joined).toBe(submitted)
}

test.each([
  ['MLX', () => registered()],
  ['a simulated device', () => onSim()],
])('a registered model is loaded by its first request, on %s', async (_, open) => {
  const engine = await open()
  expect(engine.listModels()).toEqual([])
  expect(engine.getModelInfo('demo')).toBeUndefined()
  expect(demoOf(engine)).toMatchObject({ state: 'unloaded', registered: true, bytes: 0, loads: 0, lastUsedAt: 0 })
  const { tokens } = await engine.generate({ model: 'demo', ...hello })
  expect(tokens).toHaveLength(3)
  const handle = engine.getModelInfo('demo')
  expect(handle).toMatchObject({ id: 'demo', state: 'loaded', loads: 1, family: 'llama' })
  expect(handle?.lastUsedAt).toBeGreaterThan(0)
  expect(engine.listModels()).toEqual([handle])
  expect(await engine.loadModel('demo')).toBe(handle)
  expect(engine.stats().lifecycle).toMatchObject({ hits: 0, misses: 1, loads: 1, failedLoads: 0 })
})

test('all requests that wait for a model share one load', async () => {
  const engine = await onSim()
  const requests = Array.from({ length: 20 }, () => engine.generate({ model: 'demo', ...hello }))
  expect(engine.stats().preparing).toBe(20)
  expect(demoOf(engine)?.state).toBe('loading')
  expect((await Promise.all(requests)).every(({ tokens }) => tokens.length === 3)).toBe(true)
  expect(engine.stats().lifecycle).toMatchObject({ misses: 20, loads: 1 })
  await engine.generate({ model: 'demo', ...hello })
  expect(engine.stats().lifecycle).toMatchObject({ hits: 1, misses: 20 })
  expectSum(engine)
})

test('a request that waits gets the same answer in every form', async () => {
  const engine = await registered()
  const params = { model: 'demo', prompt: 'Hello', maxTokens: 6, ignoreEos: true }
  const items: number[] = []
  const generator = async () => {
    for await (const item of engine.createGenerator(params)) if (item.type === 'token') items.push(item.tokenId)
  }
  const [whole, several, streamed] = await Promise.all([
    engine.generate(params),
    engine.generate({ ...params, n: 2, logprobs: 2 }),
    read(engine.generate(params)),
    generator(),
  ])
  expect(streamed.tokens).toEqual([...whole.tokens])
  expect(items).toEqual([...whole.tokens])
  expect(several.choices).toHaveLength(2)
  expect(several.logprobs).toHaveLength(6)
  expect(several.tokens).toEqual(whole.tokens)
})

test('a wrong request is refused at once, and loads nothing', async () => {
  const engine = await onSim()
  const error = await failure(engine.generate({ model: 'demo', prompt: 'Hello', maxTokens: -1 }))
  expect(error).toMatchObject({ code: 'InvalidParams', param: 'maxTokens' })
  expect(demoOf(engine)).toMatchObject({ state: 'unloaded', loads: 0 })
})

test('params are read at the call of generate, before the model is loaded', async () => {
  const engine = await onSim()
  const messages = [{ role: 'user', content: 'Hello' }]
  const waiting = engine.generate({ model: 'demo', messages, maxTokens: 1 })
  messages.push({ role: 'assistant', content: 'changed' })
  const { usage } = await waiting
  const alone = await engine.generate({ model: 'demo', messages: messages.slice(0, 1), maxTokens: 1 })
  expect(usage.inputTokens).toBe(alone.usage.inputTokens)
})

test('requests that wait for a model count as pending requests', async () => {
  const engine = await onSim({ scheduler: { maxPending: 2 } })
  const accepted = [1, 2].map(() => engine.generate({ model: 'demo', ...hello }))
  const refused = await failure(engine.generate({ model: 'demo', ...hello }))
  expect(refused).toMatchObject({ code: 'Overloaded', limit: 2 })
  await Promise.all(accepted)
  expectSum(engine)
})

test('an abort ends a waiting request at once, and the abort of the last one ends the load', async () => {
  const engine = await registered()
  const reason = new Error('not any more')
  const controller = new AbortController()
  const [leaving, staying] = [{ signal: controller.signal }, {}].map(options =>
    engine.generate({ model: 'demo', ...hello }, options),
  )
  const left = failure(leaving)
  controller.abort(reason)
  expect(await left).toBe(reason)
  expect((await staying).tokens).toHaveLength(3)
  await engine.unloadModel('demo')
  const alone = new AbortController()
  const ended = failure(engine.generate({ model: 'demo', ...hello }, { signal: alone.signal }))
  alone.abort(reason)
  expect(await ended).toBe(reason)
  expect(demoOf(engine)?.state).toBe('unloaded')
  await until(() => engine.stats().memory.weightBytes === 0 && engine.stats().lifecycle.failedLoads === 1)
  expect(engine.stats()).toMatchObject({ preparing: 0, cancelled: 2 })
  expect((await engine.generate({ model: 'demo', ...hello })).tokens).toHaveLength(3)
  expectSum(engine)
})

test('a cancelled request that waits ends without tokens', async () => {
  const engine = await registered()
  const generation = engine.generate({ model: 'demo', ...hello, seed: 7 })
  generation.cancel()
  const { finishReason, tokens, usage, seed } = await generation
  expect({ finishReason, length: tokens.length, input: usage.inputTokens, seed }).toEqual({
    finishReason: 'cancelled',
    length: 0,
    input: 0,
    seed: 7,
  })
  expect(engine.stats()).toMatchObject({ preparing: 0, cancelled: 1 })
})

test('a deadline holds while the model is loaded', async () => {
  const engine = await registered()
  const error = await failure(engine.generate({ model: 'demo', ...hello }, { timeoutMs: 0.001 }))
  expect(error.code).toBe('Timeout')
  await until(() => engine.stats().preparing === 0)
  expect(engine.stats().errors).toEqual({ Timeout: 1 })
  expectSum(engine)
})

test('a load that fails fails all requests that wait for it, and a later one tries again', async () => {
  const { demo } = await copiesOfDemo('demo')
  const { engine } = await simulated()
  const model = await engine.loadModel({ path: demo, id: 'mine' })
  await engine.unloadModel(model, { forget: false })
  const [config, away] = [path.join(demo, 'config.json'), path.join(demo, 'away.json')]
  await rename(config, away)
  const errors = await Promise.all([1, 2, 3].map(() => failure(engine.generate({ model, ...hello }))))
  for (const error of errors) {
    expect(error).toMatchObject({ code: 'ModelLoadError' })
    expect(error.message).toContain('config.json')
  }
  expect(engine.stats()).toMatchObject({ preparing: 0, errors: { ModelLoadError: 3 }, lifecycle: { failedLoads: 1 } })
  expect(model.state).toBe('unloaded')
  await rename(away, config)
  expect((await engine.generate({ model, ...hello })).tokens).toHaveLength(3)
  expect(model).toMatchObject({ state: 'loaded', loads: 2 })
  expectSum(engine)
})

test('a call of the tokenizer loads its model', async () => {
  const engine = await onSim()
  const [tokens] = await Promise.all([
    engine.tokenize({ model: 'demo', text: 'Hello' }),
    engine.applyChatTemplate({ model: 'demo', messages: [{ role: 'user', content: 'Hello' }] }),
  ])
  expect(await engine.detokenize({ model: 'demo', tokens })).toBe('Hello')
  expect(demoOf(engine)).toMatchObject({ state: 'loaded', loads: 1 })
  await engine.unloadModel('demo')
  expect(await engine.detokenize({ model: 'demo', tokens })).toBe('Hello')
})

test('an unload while a model is loaded ends the load for all that wait', async () => {
  const engine = await registered()
  const waiting = [engine.generate({ model: 'demo', ...hello }), engine.tokenize({ model: 'demo', text: 'Hello' })]
  const errors = Promise.all(waiting.map(failure))
  expect(demoOf(engine)?.state).toBe('loading')
  await engine.unloadModel('demo')
  for (const error of await errors) expect(error).toMatchObject({ code: 'ModelNotLoaded' })
  expect(engine.stats()).toMatchObject({ preparing: 0, memory: { weightBytes: 0 } })
  expect((await engine.generate({ model: 'demo', ...hello })).tokens).toHaveLength(3)
  expectSum(engine)
})

test('a model that is unloaded during its first load is no longer known', async () => {
  const { engine } = await withMlx()
  const { other } = await copiesOfDemo('other')
  const loading = failure(engine.loadModel(other))
  while (engine.stats().lifecycle.models.length < 2) await new Promise(setImmediate)
  await engine.unloadModel('other')
  expect(await loading).toMatchObject({ code: 'ModelNotLoaded' })
  expect(engine.stats().lifecycle.models.map(({ model }) => model)).toEqual(['demo'])
  expect(await failure(engine.generate({ model: 'other', ...hello }))).toMatchObject({ code: 'ModelNotLoaded' })
})

test('a load frees its memory if its only caller leaves at the last report', async () => {
  const { engine, model } = await withMlx()
  const { other } = await copiesOfDemo('other')
  const enough = new Error('enough')
  const onProgress = ({ loadedBytes, totalBytes }: LoadProgress) => {
    if (loadedBytes === totalBytes) throw enough
  }
  expect(await failure(engine.loadModel({ path: other, onProgress }))).toBe(enough)
  await until(() => engine.stats().memory.weightBytes === model.bytes)
  await until(() => engine.stats().lifecycle.models.length === 1)
  expect(engine.getModelInfo('other')).toBeUndefined()
})

test('a shutdown ends requests that wait for a model', async () => {
  const engine = await registered()
  const waiting = [engine.generate({ model: 'demo', ...hello }), engine.loadModel('demo')].map(failure)
  await engine.shutdown()
  for (const error of await Promise.all(waiting)) expect(error).toBeInstanceOf(EngineClosedError)
  expect(engine.stats()).toMatchObject({ preparing: 0, errors: { EngineClosed: 1 } })
  expectSum(engine)
})

test('requests that come while a model is unloaded wait and load it again', async () => {
  // Step 5 of each load: the request that comes later has fewer steps.
  const faults = [{ step: 5, kind: 'stall' as const, ms: 1_000 }]
  const { engine, model } = await simulated(M3_MAX, { backend: { simulated: M3_MAX, faults } })
  const running = engine.generate({ ...(await longAnswer(40)), model, maxTokens: 40 })
  await running[Symbol.asyncIterator]().next()
  const unloaded = engine.unloadModel(model, { forget: false })
  expect(model.state).toBe('draining')
  const next = engine.generate({ model, ...hello })
  expect(engine.stats()).toMatchObject({ running: 1, preparing: 1 })
  await unloaded
  expect((await running).tokens).toHaveLength(40)
  expect((await next).tokens).toHaveLength(3)
  expect(model).toMatchObject({ state: 'loaded', loads: 2, unloads: { unload: 1 } })
})

test('the error about a wrong registration names the param', async () => {
  const { engine, model } = await simulated()
  const { demo } = await copiesOfDemo('demo')
  expect(await failure(engine.registerModel({ path: '/nowhere/at/all' }))).toMatchObject({ code: 'ModelNotFound' })
  expect(await failure(engine.registerModel({ path: demo, id: 'demo' }))).toMatchObject({ param: 'id' })
  expect(await failure(engine.registerModel({ path: model.path, id: 'other' }))).toMatchObject({ param: 'id' })
  for (const options of [{ onProgress: () => {} }, { pin: 'yes' }, { warmup: 1 }, { folder: demo }]) {
    const [param] = Object.keys(options)
    expect(await failure(engine.registerModel(options as never))).toMatchObject({ code: 'InvalidParams', param })
  }
  expect(await engine.registerModel({ path: demo })).toBe('demo-2')
  expect(await engine.registerModel({ path: demo })).toBe('demo-2')
})
