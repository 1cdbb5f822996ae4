// Defaults, preset, environment, options: each overrides the one before, and engine.config() shows the source.

import { Worker } from 'node:worker_threads'
import { createEngine, type EngineOptions } from 'mlx-serving'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { failure, INSTANT, ROOT, simulated } from './support.js'

const BATCH = 'MLX_GPU_SCHEDULER_BATCH_SIZE'

beforeEach(() => {
  const ours = Object.keys(process.env).filter(name => name.startsWith('MLX_'))
  for (const name of ours) vi.stubEnv(name, undefined)
})
afterEach(() => vi.unstubAllEnvs())

const configOf = async (options: EngineOptions) => (await simulated(INSTANT, options)).engine.config()

test.each<['latency' | 'balanced' | 'throughput', object]>([
  [
    'latency',
    {
      'scheduler.windowMs': { value: 0.75, source: 'preset' },
      'scheduler.batchSize': { value: 2, source: 'preset' },
      'scheduler.adaptiveWindow.enabled': { value: false, source: 'preset' },
      'scheduler.autoTune.enabled': { value: false, source: 'preset' },
      'scheduler.fastPath': { value: true, source: 'default' },
    },
  ],
  [
    'balanced',
    {
      'scheduler.windowMs': { value: 1, source: 'default' },
      'scheduler.batchSize': { value: 4, source: 'default' },
      'scheduler.adaptiveWindow.enabled': { value: true, source: 'default' },
      'scheduler.autoTune.enabled': { value: true, source: 'default' },
    },
  ],
  [
    'throughput',
    {
      'scheduler.windowMs': { value: 2, source: 'preset' },
      'scheduler.batchSize': { value: 8, source: 'preset' },
      'scheduler.adaptiveWindow.enabled': { value: true, source: 'default' },
      'scheduler.autoTune.enabled': { value: true, source: 'default' },
    },
  ],
])('the preset %s sets its values', async (preset, expected) => {
  expect(await configOf({ preset })).toMatchObject(expected)
})

test('the default preset is balanced', async () => {
  const [{ preset, ...rest }, { preset: named, ...same }] = [await configOf({}), await configOf({ preset: 'balanced' })]
  expect(preset).toMatchObject({ value: 'balanced', source: 'default' })
  expect(named).toMatchObject({ value: 'balanced', source: 'option' })
  expect(rest).toEqual(same)
})

test('a variable overrides the preset, an option overrides the variable', async () => {
  const options: EngineOptions = { preset: 'throughput' }
  expect((await configOf(options))['scheduler.batchSize']).toMatchObject({ value: 8, source: 'preset' })
  vi.stubEnv(BATCH, '6')
  expect((await configOf(options))['scheduler.batchSize']).toMatchObject({ value: 6, source: 'environment' })
  options.scheduler = { batchSize: 5 }
  expect((await configOf(options))['scheduler.batchSize']).toMatchObject({ value: 5, source: 'option' })
})

test('a source that sets the default value is still the source', async () => {
  vi.stubEnv('MLX_FAST_PATH', '1')
  const config = await configOf({ scheduler: { batchSize: 4 } })
  expect(config['scheduler.fastPath']).toMatchObject({ value: true, source: 'environment' })
  expect(config['scheduler.batchSize']).toMatchObject({ value: 4, source: 'option' })
})

test('a wrong variable is an error even if an option overrides it', async () => {
  vi.stubEnv(BATCH, '1000')
  expect(await failure(createEngine({ scheduler: { batchSize: 4 } }))).toMatchObject({ param: BATCH, limit: 64 })
})

test('variables of other programs are ignored', async () => {
  const before = await configOf({})
  vi.stubEnv('MLX_METAL_DEBUG', 'maybe')
  vi.stubEnv(BATCH.toLowerCase(), 'many')
  expect(await configOf({})).toEqual(before)
})

test('the error about contradicting options names both as they were set', async () => {
  vi.stubEnv('MLX_AUTO_TUNE_MIN_BATCH', '8')
  const error = await failure(createEngine({ scheduler: { autoTune: { maxBatch: 4 } } }))
  expect(error).toMatchObject({
    code: 'ConfigError',
    param: 'scheduler.autoTune.maxBatch',
    message: '`MLX_AUTO_TUNE_MIN_BATCH` (8, environment) must not be above `scheduler.autoTune.maxBatch` (4, option)',
  })
  vi.unstubAllEnvs()
  const windows = { lowMs: 1.5, mediumMs: 1.25, highMs: 1 }
  const message = '`scheduler.adaptiveWindow.lowMs` (1.5, option) must not be above'
  expect((await failure(createEngine({ scheduler: { adaptiveWindow: windows } }))).message).toContain(message)
})

test('a worker thread has its own variables', async () => {
  const script = `
    const { parentPort } = require('node:worker_threads')
    const { createEngine } = require(${JSON.stringify(ROOT)})
    createEngine({ backend: { simulated: 'instant' } }).then(async engine => {
      parentPort.postMessage(engine.config()['scheduler.batchSize'])
      await engine.dispose()
    })`
  vi.stubEnv(BATCH, '6')
  const worker = new Worker(script, { eval: true, env: { [BATCH]: '7' } })
  const [value] = await new Promise<unknown[]>((resolve, reject) => {
    worker.on('message', (...message) => resolve(message))
    worker.on('error', reject)
  })
  expect(value).toMatchObject({ value: 7, source: 'environment' })
  expect((await configOf({}))['scheduler.batchSize']).toMatchObject({ value: 6 })
})

test('the object of engine.config() is frozen', async () => {
  const { engine } = await simulated()
  const config = engine.config() as Record<string, { value?: unknown }>
  expect(() => (config['scheduler.batchSize'] = {})).toThrow(TypeError)
  expect(() => (config['scheduler.batchSize'].value = 64)).toThrow(TypeError)
  await engine.shutdown()
  expect(() => engine.config()).toThrow(expect.objectContaining({ code: 'EngineClosed' }))
})
