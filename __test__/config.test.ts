// The options of createEngine: what is wrong with them is said by name before anything is started.

import { ConfigError, createEngine } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, INSTANT } from './support.js'

const thrown = new Error('thrown by the caller')

const create = async (options: unknown) => {
  const engine = await createEngine(options as never)
  await engine.dispose()
}

test.each<[string, unknown, string?]>([
  ['an array', []],
  ['a misspelt key', { schedular: {} }, 'schedular'],
  ['a misspelt key of a group', { scheduler: { batchsize: 4 } }, 'scheduler.batchsize'],
  ['an unknown backend', { backend: 'cuda' }, 'backend'],
  ['an unknown profile', { backend: { simulated: 'm9/huge' } }, 'backend'],
  ['a profile that is no string', { backend: { simulated: 4 } }, 'backend.simulated'],
  ['a backend with an unknown key', { backend: { simulated: INSTANT, speed: 2 } }, 'backend.speed'],
  ['batchSize 0', { scheduler: { batchSize: 0 } }, 'scheduler.batchSize'],
  ['batchSize negative', { scheduler: { batchSize: -1 } }, 'scheduler.batchSize'],
  ['batchSize NaN', { scheduler: { batchSize: Number.NaN } }, 'scheduler.batchSize'],
  ['batchSize a string', { scheduler: { batchSize: '4' } }, 'scheduler.batchSize'],
  ['batchSize huge', { scheduler: { batchSize: 1e12 } }, 'scheduler.batchSize'],
  ['a fault without a kind', { backend: { simulated: INSTANT, faults: [{ step: 1 }] } }, 'backend.faults[0].kind'],
  ['maxQueue 0', { scheduler: { maxQueue: 0 } }, 'scheduler.maxQueue'],
  ['prefillChunkTokens a fraction', { scheduler: { prefillChunkTokens: 1.5 } }, 'scheduler.prefillChunkTokens'],
  ['bufferTokens 1', { streaming: { bufferTokens: 1 } }, 'streaming.bufferTokens'],
  ['bufferTokens infinite', { streaming: { bufferTokens: Number.POSITIVE_INFINITY } }, 'streaming.bufferTokens'],
  ['parkTimeoutMs negative', { streaming: { parkTimeoutMs: -1 } }, 'streaming.parkTimeoutMs'],
  ['a group that is a number', { streaming: 4 }, 'streaming'],
])('%s', async (_, options, param) => {
  const error = await failure(create(options))
  expect(error).toBeInstanceOf(ConfigError)
  if (param !== undefined) expect(error.param).toBe(param)
})

test('a misspelt key is answered with the one that was meant', async () => {
  expect((await failure(create({ scheduler: { batchsize: 4 } }))).message).toContain('batchSize')
})

test('an unknown profile is answered with the known ones', async () => {
  expect((await failure(create({ backend: { simulated: 'm9/huge' } }))).message).toContain(INSTANT)
})

test('what a getter throws is the cause', async () => {
  const hostile = () => {
    throw thrown
  }
  for (const options of [new Proxy({}, { ownKeys: hostile }), { scheduler: new Proxy({}, { ownKeys: hostile }) }]) {
    const error = await failure(create(options))
    expect(error).toBeInstanceOf(ConfigError)
    expect(error.cause).toBe(thrown)
  }
})

test('null and undefined are the same as absent', async () => {
  await create(null)
  await create({ backend: null, scheduler: null, streaming: { bufferTokens: null } })
  await create({ backend: undefined, scheduler: undefined, streaming: { bufferTokens: undefined } })
})
