// timeoutMs: a deadline for the whole generation.

import { TimeoutError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, longAnswer, M3_MAX, simulated } from './support.js'

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
