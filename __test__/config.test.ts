// The options of createEngine: before anything is started, an error names the option that is wrong.

import { ConfigError, createEngine } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, INSTANT, M3_MAX, readCounter, simulated, withMlx } from './support.js'

const thrown = new Error('thrown by the caller')

const create = async (options: unknown) => {
  const engine = await createEngine(options as never)
  await engine.dispose()
}

test.each<[string, unknown, string?]>([
  ['an array', []],
  ['an array as a group', { scheduler: [] }, 'scheduler'],
  ['an array as a group of a group', { scheduler: { autoTune: [4] } }, 'scheduler.autoTune'],
  ['a map', new Map([['preset', 'latency']])],
  ['a map as a group', { scheduler: new Map([['batchSize', 4]]) }, 'scheduler'],
  ['a misspelt key', { schedular: {} }, 'schedular'],
  ['a misspelt key without a value', { schedular: undefined }, 'schedular'],
  ['a misspelt key of a group', { scheduler: { batchsize: 4 } }, 'scheduler.batchsize'],
  ['a misspelt key of a group of a group', { scheduler: { autoTune: { max: 8 } } }, 'scheduler.autoTune.max'],
  ['a key with dots', { 'scheduler.batchSize': 4 }, 'scheduler.batchSize'],
  ['a key with dots in a group', { scheduler: { 'autoTune.interval': 5 } }, 'scheduler.autoTune.interval'],
  ['an empty key', { '': {} }, ''],
  ['an unknown preset', { preset: 'fast' }, 'preset'],
  ['a preset that is no string', { preset: 1 }, 'preset'],
  ['an unknown backend', { backend: 'cuda' }, 'backend'],
  ['an unknown profile', { backend: { simulated: 'm9/huge' } }, 'backend'],
  ['a profile that is no string', { backend: { simulated: 4 } }, 'backend.simulated'],
  ['a backend with an unknown key', { backend: { simulated: INSTANT, speed: 2 } }, 'backend.speed'],
  ['a fault without a kind', { backend: { simulated: INSTANT, faults: [{ step: 1 }] } }, 'backend.faults[0].kind'],
  ['a group that is a number', { streaming: 4 }, 'streaming'],
])('createEngine refuses %s', async (_, options, param) => {
  const error = await failure(create(options))
  expect(error).toBeInstanceOf(ConfigError)
  if (param !== undefined) expect(error.param).toBe(param)
})

test('the error about a misspelt key names the right key', async () => {
  expect((await failure(create({ scheduler: { batchsize: 4 } }))).message).toContain('batchSize')
})

test('the error about an unknown preset lists the known ones', async () => {
  const { message } = await failure(create({ preset: 'fast' }))
  expect(message).toBe("`preset` must be 'latency', 'balanced' or 'throughput', not 'fast'")
})

test('the error about an unknown profile lists the known ones', async () => {
  const { message } = await failure(create({ backend: { simulated: 'm9/huge' } }))
  expect(message).toContain(`m3-max/llama-3.2-3b-4bit, m3-max/llama-3.1-8b-4bit, ${INSTANT}`)
})

test('an error that a getter or a proxy throws is the cause of the ConfigError', async () => {
  const hostile = () => {
    throw thrown
  }
  const fault = Object.defineProperty({}, 'step', { enumerable: true, get: hostile })
  for (const options of [
    new Proxy({}, { ownKeys: hostile }),
    { scheduler: new Proxy({}, { ownKeys: hostile }) },
    { scheduler: { autoTune: Object.defineProperty({}, 'interval', { enumerable: true, get: hostile }) } },
    { backend: { simulated: INSTANT, faults: [fault] } },
  ]) {
    const error = await failure(create(options))
    expect(error).toBeInstanceOf(ConfigError)
    expect(error.cause).toBe(thrown)
  }
})

test('each property is read once', async () => {
  const { reads, counting } = readCounter()
  await create(counting({ preset: 'latency', scheduler: { batchSize: 4, autoTune: { interval: 5 } } }))
  expect(reads).toEqual(['preset', 'scheduler', 'batchSize', 'autoTune', 'interval'])
})

test('properties of Object.prototype are not options', async () => {
  const inherited = { batchSize: 7, simulated: 'nonsense', preset: 'nonsense', MLX_FAST_PATH: 'nonsense' }
  for (const [name, value] of Object.entries(inherited)) {
    Object.defineProperty(Object.prototype, name, { value, configurable: true, enumerable: true, writable: true })
  }
  const engine = await createEngine({ scheduler: {} }).finally(() => {
    for (const name of Object.keys(inherited)) Reflect.deleteProperty(Object.prototype, name)
  })
  expect(engine.config()['scheduler.batchSize']).toMatchObject({ value: 4, source: 'default' })
  await engine.dispose()
})

test('null and undefined mean absent', async () => {
  await create(null)
  for (const none of [null, undefined]) {
    await create({ preset: none, backend: none, scheduler: none, memory: { kvBytes: none }, streaming: {} })
    await create({ backend: { simulated: INSTANT, faults: none }, scheduler: { autoTune: none, batchSize: none } })
  }
})

test('config() shows the backend', async () => {
  expect((await withMlx()).engine.config().backend).toEqual({ value: 'mlx', source: 'default' })
  expect((await withMlx({ backend: 'mlx' })).engine.config().backend).toEqual({ value: 'mlx', source: 'option' })
  expect((await simulated(M3_MAX)).engine.config().backend).toEqual({ value: M3_MAX, source: 'option' })
})

test('config() shows the preset and the precision', async () => {
  const { engine } = await simulated(INSTANT, { preset: 'latency' })
  const names = ['latency', 'balanced', 'throughput']
  expect(engine.config().preset).toMatchObject({ value: 'latency', source: 'option', names })
  expect(engine.config().precision).toMatchObject({ value: 'auto', source: 'default', names: ['auto', 'model'] })
})

test('config() shows the memory for KV, whether it is set or computed', async () => {
  const { engine, model } = await withMlx()
  const kvBytes = () => engine.config()['memory.kvBytes']
  const range = { min: 1, max: Number.MAX_SAFE_INTEGER, variable: 'MLX_SERVING_KV_BYTES' }
  const loaded = kvBytes()
  expect(loaded).toEqual({ ...range, value: expect.any(Number), source: 'default' })
  await engine.unloadModel(model)
  expect((kvBytes().value as number) - (loaded.value as number)).toBe(model.bytes)
  const set = await withMlx({ memory: { kvBytes: 12_345_678 } })
  expect(set.engine.config()['memory.kvBytes']).toEqual({ ...range, value: 12_345_678, source: 'option' })
})

test('a request that needs more KV than config() shows is refused with that limit', async () => {
  const { engine, model } = await simulated(M3_MAX, { memory: { kvBytes: 1_000_000 } })
  const error = await failure(engine.generate({ model, prompt: { tokens: Array(2000).fill(5) }, maxTokens: 1 }))
  expect(error).toMatchObject({ code: 'InsufficientMemory', limit: engine.config()['memory.kvBytes'].value })
})

test('config() returns the same frozen object until something changes', async () => {
  const { engine, model } = await withMlx()
  const config = engine.config()
  expect(engine.config()).toBe(config)
  await engine.unloadModel(model)
  expect(engine.config()).not.toBe(config)
  expect(Object.isFrozen(engine.config())).toBe(true)
  expect(Object.isFrozen(engine.config()['memory.kvBytes'])).toBe(true)
})
