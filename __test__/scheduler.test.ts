// How requests share a device: admission, batch limit, priorities, and the limits of memory, time and queue.

import {
  type EngineOptions,
  type GenerateOptions,
  InvalidParamsError,
  OverloadedError,
  TimeoutError,
} from 'mlx-serving'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { failure, INSTANT, longAnswer, M3_MAX, orderOf, type Ready, simulated, until, withMlx } from './support.js'

const statsOf = ({ engine }: Ready) => engine.stats().models[0]

describe('admission', () => {
  test('sequential requests find the engine idle, and each starts at once', async () => {
    const ready = await simulated(INSTANT)
    for (let n = 0; n < 30; n++)
      await ready.engine.generate({ model: ready.model, prompt: `Number ${n}`, maxTokens: 3 })
    const { admissions, recentAdmissions } = statsOf(ready)
    expect(admissions).toEqual({ fastPath: 30, joined: 0, together: 0, full: 0, window: 0, urgent: 0 })
    expect(recentAdmissions.length).toBe(30)
    expect(recentAdmissions[29]).toEqual({ reason: 'fastPath', waitedMs: expect.any(Number), depth: 1, tier: 'low' })
  })

  test('a request joins a running batch, and every request is admitted once', async () => {
    const ready = await simulated(M3_MAX)
    const params = { model: ready.model, prompt: 'Hello', maxTokens: 20 }
    // Takes more than 6 s, unless it is cancelled.
    const first = ready.engine.generate({ ...params, maxTokens: 1_000, ignoreEos: true })
    await until(() => ready.engine.stats().running === 1)
    await Promise.all([ready.engine.generate(params), ready.engine.generate(params)])
    first.cancel()
    await first
    expect(statsOf(ready).admissions).toMatchObject({ fastPath: 1, joined: 2 })
  })

  test('three variables give every request a fixed window of 2 ms', async () => {
    const variables = { MLX_ADAPTIVE_WINDOW: 'off', MLX_FAST_PATH: 'off', MLX_GPU_SCHEDULER_WINDOW_MS: '2.0' }
    for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value)
    onTestFinished(() => {
      vi.unstubAllEnvs()
    })
    const ready = await simulated(INSTANT)
    for (let n = 0; n < 3; n++) await ready.engine.generate({ model: ready.model, prompt: `Number ${n}`, maxTokens: 3 })
    const { windowMs, admissions, recentAdmissions } = statsOf(ready)
    expect([windowMs, admissions.window, admissions.fastPath]).toEqual([2, 3, 0])
    for (const { waitedMs } of recentAdmissions) expect(waitedMs).toBeGreaterThanOrEqual(2)
  })
})

test('the batch limit grows with demand, and stats have the measured step times', async () => {
  const ready = await simulated(M3_MAX)
  const params = { ...(await longAnswer(40)), model: ready.model, maxTokens: 40 }
  await Promise.all(Array.from({ length: 24 }, () => ready.engine.generate(params)))
  const { batchLimitChanges, stepTimes, prefillCost, steps, engineMs } = statsOf(ready)
  // At the end the limit is 4 again if a step of a larger batch was very slow.
  expect(ready.engine.stats().maxBatch).toBeGreaterThan(4)
  expect(batchLimitChanges).toBeGreaterThan(0)
  expect(Math.max(...stepTimes.map(({ rows }) => rows))).toBeGreaterThan(4)
  expect(prefillCost).toEqual({ fixedMs: expect.any(Number), perTokenMs: expect.any(Number) })
  expect(steps).toBeGreaterThan(40)
  expect(engineMs).toBeGreaterThan(0)
})

describe('order', () => {
  test('urgent runs before default, and default before background', async () => {
    const order = await orderOf({
      background: { priority: 'background' },
      default: {},
      urgent: { priority: 'urgent' },
      'second urgent': { priority: 'urgent' },
    })
    expect(order).toEqual(['urgent', 'second urgent', 'default', 'background'])
  })

  test('tenants take turns', async () => {
    const many = Object.fromEntries([1, 2, 3, 4].map(n => [`many ${n}`, { tenant: 'many' }]))
    const few = Object.fromEntries([1, 2].map(n => [`few  ${n}`, { tenant: 'few' }]))
    const order = await orderOf({ ...many, ...few })
    expect(order).toEqual(['many 1', 'few  1', 'many 2', 'few  2', 'many 3', 'many 4'])
  })

  test.each([
    ['priority', { priority: 'high' }],
    ['priority', { priority: 1 }],
    ['tenant', { tenant: 7 }],
    ['tenant', { tenant: 'x'.repeat(257) }],
  ])('a bad %s is refused by name: %o', async (param, options) => {
    const { engine, model } = await simulated()
    const error = await failure(engine.generate({ model, prompt: 'Hello' }, options as GenerateOptions))
    expect(error).toBeInstanceOf(InvalidParamsError)
    expect(error.param).toBe(`options.${param}`)
  })
})

describe('limits', () => {
  test('a waiting request fails at once if its deadline is nearer than the end of its prompt', async () => {
    const { engine, model } = await simulated(M3_MAX)
    const long = { model, prompt: { tokens: new Array(2000).fill(5) }, maxTokens: 1 }
    // Takes 1.3 s, which the engine has measured then.
    await engine.generate(long)
    const other = engine.generate({ model, prompt: 'Hello', ignoreEos: true, maxTokens: 4000 })
    await until(() => engine.stats().generatedTokens > 1)
    const error = await failure(engine.generate(long, { timeoutMs: 500 }))
    expect(error).toBeInstanceOf(TimeoutError)
    expect(error.message).toMatch(/reading the prompt/)
    other.cancel()
    expect((await other).text).not.toBe('')
  })

  test('prompt tokens beyond maxPendingTokens are refused with a time to retry', async () => {
    const faults = [{ step: 0, kind: 'stall' as const, ms: 500 }]
    const options = { backend: { simulated: INSTANT, faults }, scheduler: { maxPendingTokens: 300 } }
    const { engine, model } = await simulated(INSTANT, options)
    const params = { model, prompt: { tokens: new Array(200).fill(5) }, maxTokens: 1 }
    const first = engine.generate(params)
    const error = await failure(engine.generate(params))
    expect(error).toBeInstanceOf(OverloadedError)
    expect(error).toMatchObject({ limit: 300, requested: 400 })
    expect(error.retryAfterMs).toBeGreaterThan(0)
    await first
    expect((await engine.generate(params)).usage.inputTokens).toBe(200)
  })

  test('a single prompt is accepted whatever its length', async () => {
    const { engine, model } = await simulated(INSTANT, { scheduler: { maxPendingTokens: 10 } })
    const { usage } = await engine.generate({ model, prompt: { tokens: new Array(200).fill(5) }, maxTokens: 1 })
    expect(usage.inputTokens).toBe(200)
  })
})

describe('memory', () => {
  /** Bytes of 256 positions: 28 layers, 8 heads of 128 numbers of 16 bits, keys and values. */
  const BLOCK = 256 * 28 * 8 * 128 * 2 * 2

  /** Three blocks of 256 positions, for generations that need two each in the end. */
  const options: EngineOptions = { memory: { kvBytes: 3 * BLOCK } }
  const prompts = [5, 6, 7, 8, 9].map(token => ({ tokens: new Array(250).fill(token) }))

  test('generations that exceed it are recomputed later, with the same answer', async () => {
    const { prompt: _, ...rest } = await longAnswer(40)
    const alone = await simulated(M3_MAX)
    const answers = (ready: Ready) =>
      prompts.map(prompt => ready.engine.generate({ ...rest, prompt, model: ready.model, maxTokens: 40 }))
    const expected = (await Promise.all(answers(alone))).map(({ text }) => text)
    const ready = await simulated(M3_MAX, options)
    expect((await Promise.all(answers(ready))).map(({ text }) => text)).toEqual(expected)
    expect(statsOf(alone).preemptions).toBe(0)
    expect(statsOf(ready).preemptions).toBeGreaterThan(0)
    await until(() => statsOf(ready).kvBytes === 0)
  })

  test('a generation that can never fit is refused at once', async () => {
    const { engine, model } = await simulated(M3_MAX, options)
    const error = await failure(engine.generate({ model, prompt: prompts[0], maxTokens: 600 }))
    expect(error).toMatchObject({ code: 'InsufficientMemory', limit: 3 * BLOCK, requested: 4 * BLOCK })
  })

  test('when the device runs out of memory, all sequences are recomputed in smaller batches and none fails', async () => {
    const { tokens } = await (async () => {
      const { engine, model } = await simulated(INSTANT)
      return engine.generate({ ...(await longAnswer(40)), model, maxTokens: 40 })
    })()
    // All three requests arrive during the first step.
    const faults = [
      { step: 0, kind: 'stall' as const, ms: 500 },
      { step: 9, kind: 'memory' as const },
    ]
    const { engine, model } = await simulated(M3_MAX, { backend: { simulated: M3_MAX, faults } })
    const params = { ...(await longAnswer(40)), model, maxTokens: 40 }
    const answers = await Promise.all([1, 2, 3].map(() => engine.generate(params)))
    for (const answer of answers) expect(answer.tokens).toEqual(tokens)
    expect(engine.stats()).toMatchObject({ recoveries: 1, failed: 0, completed: 3 })
    await until(() => engine.stats().kvBytes === 0)
  })

  test('a generation that runs alone when the device runs out of memory fails', async () => {
    const faults = [{ step: 3, kind: 'memory' as const }]
    const { engine, model } = await simulated(INSTANT, { backend: { simulated: INSTANT, faults } })
    const params = { ...(await longAnswer(40)), model, maxTokens: 40 }
    expect((await failure(engine.generate(params))).code).toBe('InsufficientMemory')
    expect((await engine.generate(params)).tokens.length).toBe(40)
  })
})

test('with deterministic, answers do not depend on the load', async () => {
  const { engine, model } = await withMlx({ scheduler: { deterministic: true } })
  const params = (n: number) => ({ model, prompt: `Question ${n}`, temperature: 1.5, seed: n, maxTokens: 30 })
  const alone = []
  for (let n = 0; n < 4; n++) alone.push((await engine.generate(params(n))).text)
  const crowd = Array.from({ length: 24 }, (_, n) => engine.generate(params(n)))
  expect((await Promise.all(crowd.slice(0, 4))).map(({ text }) => text)).toEqual(alone)
  await Promise.all(crowd)
})
