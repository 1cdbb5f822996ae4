// What an engine writes to its logger, and at which level. Events of the engine's threads are in log-events.test.ts.

import { createEngine, type EngineOptions } from 'mlx-serving'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Line, recorder } from './logs.js'
import { failure, INSTANT, inNode, M3_MAX, simulated } from './support.js'

beforeEach(() => vi.stubEnv('MLX_LOG', undefined))
afterEach(() => vi.unstubAllEnvs())

/** The lines of an engine that loads a model, answers a request, and stops. */
async function life(options: EngineOptions = {}): Promise<Line[]> {
  const { lines, logger } = recorder()
  const { engine, model } = await simulated(INSTANT, { logger, ...options })
  await engine.generate({ model, prompt: 'Once', maxTokens: 3 }, { id: 'request 7' })
  await engine.unloadModel(model)
  await engine.shutdown()
  return lines
}

test('start, load, unload and shutdown are logged at info, each as one text', async () => {
  const lines = await life()
  expect(lines.map(([level]) => level)).toEqual(new Array(5).fill('info'))
  const [started, loaded, ...rest] = lines.map(([, message]) => message)
  expect(started).toMatch(/^engine started version=\d+\.\d+\.\d+ preset=balanced backend=instant$/)
  expect(loaded).toMatch(/^model loaded id=demo bytes=\d+ ms=[\d.]+$/)
  expect(rest).toEqual(['model unloaded id=demo reason=unload', 'engine draining', 'engine stopped'])
})

test('each request is logged at debug', async () => {
  vi.stubEnv('MLX_LOG', 'off,mlx_serving::api=debug')
  const lines = await life()
  const [started, completed] = lines.filter(([level]) => level === 'debug').map(([, message]) => message)
  expect(started).toBe('generation started id="request 7" model=demo')
  const expected =
    /^generation completed id="request 7" model=demo finishReason=\w+ served=computed inputTokens=\d+ outputTokens=3 ms=[\d.]+$/
  expect(completed).toMatch(expected)
})

test.each([
  ['error', []],
  ['warn', []],
  ['info', ['info']],
  [' DEBUG ', ['debug', 'info']],
  ['trace', ['debug', 'info']],
  ['off', []],
])('MLX_LOG=%s limits the levels', async (level, expected) => {
  vi.stubEnv('MLX_LOG', level)
  expect([...new Set((await life()).map(([level]) => level))].sort()).toEqual(expected)
})

test('a failure of the device is logged at error with its code', async () => {
  const { lines, logger } = recorder()
  const backend = { simulated: INSTANT, faults: [{ step: 0, kind: 'collect' as const }] }
  const { engine, model } = await simulated(INSTANT, { logger, backend, retry: { enabled: false } })
  const { message } = await failure(engine.generate({ model, prompt: 'Once' }))
  const errors = lines.filter(([level]) => level === 'error')
  expect(errors).toEqual([
    ['error', `step failed model=demo lost=1 error="BackendError: ${message}" target=mlx_serving::engine`],
    ['error', `a generation failed code=BackendError message=${JSON.stringify(message)}`],
  ])
})

test('refusals for overload are logged at warn, at most one line a second', async () => {
  const { lines, logger } = recorder()
  const { engine, model } = await simulated(M3_MAX, { logger, scheduler: { maxPending: 1 } })
  const params = { model, prompt: 'Once', maxTokens: 2 }
  const asked = Array.from({ length: 50 }, () => engine.generate(params))
  await Promise.allSettled(asked)
  const warnings = lines.filter(([level]) => level === 'warn')
  expect(warnings).toEqual([['warn', 'requests are refused: the engine is overloaded refused=1']])
})

test('a logger that throws is not used any more, and the engine continues', async () => {
  const warnings: Error[] = []
  const listen = (warning: Error) => warnings.push(warning)
  process.on('warning', listen)
  const broken = () => {
    throw new Error('disk full')
  }
  const { engine, model } = await simulated(INSTANT, {
    logger: { debug: broken, info: broken, warn: broken, error: broken },
  })
  expect((await engine.generate({ model, prompt: 'Once', maxTokens: 2 })).text).not.toBe('')
  await new Promise(setImmediate)
  process.off('warning', listen)
  expect(warnings.map(({ name, message }) => [name, message])).toEqual([
    ['MlxServingWarning', 'the logger threw an error and is not used any more: disk full'],
  ])
})

test('methods of the logger are called on their object', async () => {
  class Counter {
    count = 0
    debug() {}
    info() {
      this.count++
    }
    warn() {}
    error() {}
  }
  const logger = new Counter()
  await simulated(INSTANT, { logger })
  expect(logger.count).toBeGreaterThan(0)
})

test.each([1, 'console', () => {}, [], {}, { info() {} }])('the logger %o is refused', async logger => {
  const error = await failure(createEngine({ logger } as object))
  expect(error).toMatchObject({ code: 'ConfigError', param: 'logger' })
  expect(error.message).toContain('must be an object with the functions error, warn, info, debug')
})

test.each([
  '',
  'verbose',
  '1',
  'info,',
  'mlx_serving::scheduler',
  'scheduler=debug',
  'mlx_serving::x=debug',
  '=info',
  'mlx_serving=',
])('MLX_LOG=%j is refused', async level => {
  vi.stubEnv('MLX_LOG', level)
  expect(await failure(createEngine())).toMatchObject({ code: 'ConfigError', param: 'MLX_LOG' })
})

test('without a logger MLX_LOG writes to standard error', async () => {
  const script = `
    import { createEngine } from 'mlx-serving'
    const engine = await createEngine({ backend: { simulated: 'instant' } })
    await engine.dispose()`
  const { stdout, stderr } = await inNode(script, 'module', [], { MLX_LOG: 'info' })
  expect(stdout).toBe('')
  expect(stderr).toContain('mlx-serving info: engine started version=')
  expect((await inNode(script, 'module', [], { MLX_LOG: undefined })).stderr).toBe('')
})
