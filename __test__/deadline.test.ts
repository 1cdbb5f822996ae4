// timeoutMs: the deadline of a generation.

import { TimeoutError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { ENDLESS, failure, longAnswer, M3_MAX, read, simulated, until } from './support.js'

/** An engine whose first step takes 1.5 s. */
const slow = () =>
  simulated(M3_MAX, { backend: { simulated: M3_MAX, faults: [{ step: 0, kind: 'stall', ms: 1_500 }] } })

test('a generation that has not ended by its deadline fails with TimeoutError', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { ...(await longAnswer(100)), model }
  expect(await failure(engine.generate(params, { timeoutMs: 50 }))).toBeInstanceOf(TimeoutError)
})

test('the deadline includes the time in the queue', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
  const params = { ...(await longAnswer(100)), model }
  const ahead = engine.generate(params)
  expect(await failure(engine.generate(params, { timeoutMs: 50 }))).toMatchObject({ code: 'Timeout' })
  expect((await ahead).tokens.length).toBeGreaterThan(0)
})

test('chunks from before the deadline are delivered before the error', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { ...(await longAnswer(100)), model }
  let text = ''
  const loop = async () => {
    for await (const chunk of engine.generate(params, { timeoutMs: 200 })) text += chunk.text
  }
  expect(await failure(loop())).toBeInstanceOf(TimeoutError)
  expect((await engine.generate(params)).text.startsWith(text)).toBe(true)
})

test('the error has the usage of a request that had started', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { ...ENDLESS, model }
  const { usage } = await engine.generate({ ...params, maxTokens: 1 })
  let numRead = 0
  const loop = async () => {
    for await (const { tokens } of engine.generate(params, { timeoutMs: 1_000 })) numRead += tokens.length
  }
  const error = (await failure(loop())) as unknown as TimeoutError
  expect(error.usage).toMatchObject({ inputTokens: usage.inputTokens, cachedInputTokens: 0, reasoningTokens: 0 })
  const { outputTokens = 0, totalTokens } = error.usage ?? {}
  expect(outputTokens).toBeGreaterThanOrEqual(numRead)
  expect(totalTokens).toBe(usage.inputTokens + outputTokens)
})

test('the error has no usage if the request was waiting', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
  const ahead = engine.generate({ ...ENDLESS, model })
  await until(() => engine.stats().running === 1)
  const error = await failure(engine.generate({ model, prompt: 'Hello' }, { timeoutMs: 50 }))
  expect(error).toBeInstanceOf(TimeoutError)
  expect(error).not.toHaveProperty('usage')
  ahead.cancel()
  await ahead
})

test('the error has the usage of the answer that failed first', async () => {
  const { engine, model } = await slow()
  const params = { model, prompt: { tokens: Array(20).fill(7) }, maxTokens: 3, n: 3 }
  const error = await failure(engine.generate(params, { timeoutMs: 700 }))
  expect(error).toMatchObject({ code: 'Timeout', usage: { inputTokens: 20, outputTokens: 0, totalTokens: 20 } })
})

test('a deadline does not affect a generation that ends in time', async () => {
  const { engine, model } = await simulated()
  const result = await engine.generate({ model, prompt: 'Hello', maxTokens: 2 }, { timeoutMs: 60_000 })
  expect(result.tokens.length).toBeGreaterThan(0)
})

test('the error comes at the deadline, not at the end of the running step', async () => {
  const { engine, model } = await slow()
  const error = await failure(engine.generate({ model, prompt: 'Hello', maxTokens: 3 }, { timeoutMs: 100 }))
  expect(error).toBeInstanceOf(TimeoutError)
  expect(engine.stats()).toMatchObject({ steps: 0, failed: 0 })
  await until(() => engine.stats().failed === 1)
  expect(engine.stats()).toMatchObject({ running: 0, cancelled: 0 })
})

test('all answers to a request end at its deadline, awaited or read', async () => {
  const { engine, model } = await slow()
  const params = { model, prompt: 'Hello', maxTokens: 3, n: 3 }
  const errors = await Promise.all([
    failure(engine.generate(params, { timeoutMs: 50 })),
    failure(read(engine.generate(params, { timeoutMs: 50 }))),
  ])
  expect(engine.stats()).toMatchObject({ steps: 0, failed: 0 })
  for (const error of errors) expect(error).toBeInstanceOf(TimeoutError)
  await until(() => engine.stats().running + engine.stats().queued === 0)
})

test.each([0, 2 ** 31, Number.MAX_SAFE_INTEGER])('timeoutMs %d is accepted and obeyed', async timeoutMs => {
  const { engine, model } = await simulated()
  const end = await engine.generate({ model, prompt: 'Hello', maxTokens: 2 }, { timeoutMs }).then(
    result => result.finishReason,
    error => error.code,
  )
  expect(end === 'Timeout').toBe(timeoutMs === 0)
})
