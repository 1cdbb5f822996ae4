// timeoutMs: a deadline for the whole generation.

import { TimeoutError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, longAnswer, M3_MAX, read, simulated, until } from './support.js'

test('a generation that is not done by its deadline fails with TimeoutError', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { ...(await longAnswer(100)), model }
  expect(await failure(engine.generate(params, { timeoutMs: 50 }))).toBeInstanceOf(TimeoutError)
})

test('the deadline counts while it is queued', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
  const params = { ...(await longAnswer(100)), model }
  const ahead = engine.generate(params)
  expect(await failure(engine.generate(params, { timeoutMs: 50 }))).toMatchObject({ code: 'Timeout' })
  expect((await ahead).tokens.length).toBeGreaterThan(0)
})

test('what was streamed before the deadline is delivered before the error', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { ...(await longAnswer(100)), model }
  let text = ''
  const loop = async () => {
    for await (const chunk of engine.generate(params, { timeoutMs: 200 })) text += chunk.text
  }
  expect(await failure(loop())).toBeInstanceOf(TimeoutError)
  expect((await engine.generate(params)).text.startsWith(text)).toBe(true)
})

test('a generation that is done in time does not notice', async () => {
  const { engine, model } = await simulated()
  const result = await engine.generate({ model, prompt: 'Hello', maxTokens: 2 }, { timeoutMs: 60_000 })
  expect(result.tokens.length).toBeGreaterThan(0)
})

test('the error comes when the time is over, not at the end of the step that runs then', async () => {
  const { engine, model } = await simulated(M3_MAX)
  // Reading so many tokens takes the device more than a second, in steps of some 340 ms.
  const params = { model, prompt: { tokens: Array(2_000).fill(7) }, maxTokens: 1 }
  const begun = performance.now()
  const error = await failure(engine.generate(params, { timeoutMs: 100 }))
  const tookMs = performance.now() - begun
  expect(error).toBeInstanceOf(TimeoutError)
  expect(tookMs).toBeGreaterThanOrEqual(99)
  expect(tookMs).toBeLessThan(200)
  expect(engine.stats().failed).toBe(0)
  await until(() => engine.stats().failed === 1)
  expect(engine.stats()).toMatchObject({ running: 0, cancelled: 0 })
})

test('several answers to one request end at their deadline together, awaited or read', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { model, prompt: { tokens: Array(2_000).fill(7) }, maxTokens: 1, n: 3 }
  const begun = performance.now()
  const errors = await Promise.all([
    failure(engine.generate(params, { timeoutMs: 50 })),
    failure(read(engine.generate(params, { timeoutMs: 50 }))),
  ])
  expect(performance.now() - begun).toBeLessThan(200)
  for (const error of errors) expect(error).toBeInstanceOf(TimeoutError)
  await until(() => engine.stats().running + engine.stats().queued === 0)
})

test.each([0, 2 ** 31, Number.MAX_SAFE_INTEGER])('timeoutMs %d means what it says', async timeoutMs => {
  const { engine, model } = await simulated()
  const end = await engine.generate({ model, prompt: 'Hello', maxTokens: 2 }, { timeoutMs }).then(
    result => result.finishReason,
    error => error.code,
  )
  expect(end === 'Timeout').toBe(timeoutMs === 0)
})
