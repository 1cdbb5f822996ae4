// A stream whose reader is behind is parked. It resumes when the reader catches up, and fails if that takes too long.

import { SlowConsumerError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, longAnswer, ON_MLX, read, simulated, until } from './support.js'

const STREAMING = { bufferTokens: 8 }
/** A device with real step times: on an instant one the answer may be complete before the first read. */
const SLOW = 'm3-max/llama-3.2-3b-4bit'

test('a slow reader is parked, delays no other request, and gets the whole answer', async () => {
  const { engine, model } = await simulated(SLOW, { streaming: STREAMING, scheduler: { enabled: false } })
  const params = { ...(await longAnswer(60)), model, maxTokens: 60 }
  const whole = await engine.generate(params)
  const slow = engine.generate(params)
  const chunks = slow[Symbol.asyncIterator]()
  const first = await chunks.next()
  await until(() => engine.stats().parked === 1)
  // There is one row: these requests could not end if the parked stream kept it.
  expect((await engine.generate(params)).text).toBe(whole.text)
  expect((await read(engine.generate(params))).text).toBe(whole.text)
  let text = first.done ? '' : first.value.text
  for await (const chunk of chunks) text += chunk.text
  expect(text).toBe(whole.text)
  expect(await slow).toMatchObject({ text, finishReason: whole.finishReason })
})

test.each(ON_MLX)('a slow reader is parked and gets the whole answer, with %s', async (_, open) => {
  const { engine, model } = await open({ streaming: STREAMING, scheduler: { enabled: false } })
  const ask = (maxTokens: number) =>
    engine.generate({ model, prompt: 'Tell me about the sea.', temperature: 0, ignoreEos: true, maxTokens })
  const whole = await ask(300)
  const slow = ask(300)
  const chunks = slow[Symbol.asyncIterator]()
  const first = await chunks.next()
  await until(() => engine.stats().parked === 1)
  expect((await ask(20)).text.length).toBeGreaterThan(0)
  let text = first.done ? '' : first.value.text
  for await (const chunk of chunks) text += chunk.text
  expect(text).toBe(whole.text)
})

test('a parked stream has at most bufferTokens unread tokens', async () => {
  const { engine, model } = await simulated(SLOW, { streaming: STREAMING })
  const generation = engine.generate({ ...(await longAnswer(60)), model })
  const chunks = generation[Symbol.asyncIterator]()
  const first = await chunks.next()
  await until(() => engine.stats().parked === 1)
  const numRead = first.done ? 0 : first.value.tokens.length
  expect(engine.stats().generatedTokens - numRead).toBeLessThanOrEqual(STREAMING.bufferTokens)
  await chunks.return?.()
})

test.each([3, 4, 7, 64])('a buffer of %i tokens delivers everything', async bufferTokens => {
  const { engine, model } = await simulated(undefined, { streaming: { bufferTokens } })
  const params = { ...(await longAnswer(60)), model, maxTokens: 60 }
  const whole = await engine.generate(params)
  expect((await read(engine.generate(params))).text).toBe(whole.text)
})

test('an awaited generation is never parked', async () => {
  const { engine, model } = await simulated(undefined, { streaming: STREAMING })
  const result = await engine.generate({ ...(await longAnswer(60)), model, maxTokens: 60 })
  expect(result.tokens.length).toBe(60)
  expect(engine.stats().parks).toBe(0)
})

test('a generation that is read only after its end gives the whole answer', async () => {
  const { engine, model } = await simulated(undefined, { streaming: STREAMING })
  const late = engine.generate({ ...(await longAnswer(60)), model, maxTokens: 60 })
  await until(() => engine.stats().completed === 1)
  expect(engine.stats().parks).toBe(0)
  expect((await read(late)).tokens.length).toBe(60)
})

test('a stream that is not read fails with SlowConsumer, after the delivered chunks', async () => {
  const { engine, model } = await simulated(SLOW, { streaming: { ...STREAMING, parkTimeoutMs: 20 } })
  const params = { ...(await longAnswer(60)), model, maxTokens: 60 }
  const whole = await engine.generate(params)
  const generation = engine.generate(params)
  const chunks = generation[Symbol.asyncIterator]()
  const first = await chunks.next()
  const numRead = first.done ? 0 : first.value.tokens.length
  const error = (await failure(generation)) as unknown as SlowConsumerError
  expect(error).toBeInstanceOf(SlowConsumerError)
  const { inputTokens } = whole.usage
  const { outputTokens = 0 } = error.usage ?? {}
  expect(outputTokens).toBeGreaterThan(0)
  expect(outputTokens).toBeLessThanOrEqual(STREAMING.bufferTokens + numRead)
  expect(error.usage).toMatchObject({ inputTokens, cachedOutputTokens: 0, totalTokens: inputTokens + outputTokens })
  let text = first.done ? '' : first.value.text
  const rest = async () => {
    for await (const chunk of chunks) text += chunk.text
  }
  expect(await failure(rest())).toMatchObject({ code: 'SlowConsumer' })
  expect(whole.text.startsWith(text)).toBe(true)
  expect(engine.stats().parked).toBe(0)
})
