// An iterated generation: its chunks add up to the awaited result, it can be read once, and leaving it cancels it.

import { CancelledError, InvalidParamsError } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { ENDLESS, failure, longAnswer, M3_MAX, ON_MLX, type OnMlx, read, simulated, until } from './support.js'

describe.each<OnMlx>([...ON_MLX, ['a simulated device', () => simulated()]])('%s', (_, ready) => {
  test('the chunks of a stream joined are the awaited text and tokens', async () => {
    const { engine, model } = await ready()
    const params = { model, prompt: 'Hello, what can you do? Ünïcödé 🙂 日本', maxTokens: 48, temperature: 1, seed: 7 }
    const awaited = await engine.generate(params)
    const streamed = await read(engine.generate(params))
    expect(streamed.text).toBe(awaited.text)
    expect(streamed.tokens).toEqual([...awaited.tokens])
  })

  test('a generation can be awaited while it is iterated', async () => {
    const { engine, model } = await ready()
    const generation = engine.generate({ model, prompt: 'What is 12 + 7?', maxTokens: 16 })
    const [streamed, result] = await Promise.all([read(generation), generation])
    expect(streamed.text).toBe(result.text)
    expect(await generation).toBe(result)
  })
})

test('a generation that was awaited can still be read, as one chunk', async () => {
  const { engine, model } = await simulated()
  const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 8 })
  const { text, tokens } = await generation
  expect(await read(generation)).toEqual({ text, tokens: [...tokens], chunks: 1 })
})

test('text is delivered before the answer is complete', async () => {
  const { engine, model } = await simulated(M3_MAX)
  for await (const { text } of engine.generate({ ...ENDLESS, model })) if (text !== '') break
  expect(engine.stats().completed).toBe(0)
  await until(() => engine.stats().cancelled === 1)
})

test('a second reader is refused', async () => {
  const { engine, model } = await simulated()
  const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 4 })
  const first = read(generation)
  expect(() => generation.toReadableStream()).toThrow(InvalidParamsError)
  expect(await failure(read(generation))).toBeInstanceOf(InvalidParamsError)
  expect((await first).text).toBe((await generation).text)
})

test('concurrent reads are answered in order', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const generation = engine.generate({ ...(await longAnswer(40)), model, maxTokens: 3 })
  const chunks = generation[Symbol.asyncIterator]()
  const steps = await Promise.all([1, 2, 3, 4, 5].map(() => chunks.next()))
  const text = steps.map(step => (step.done ? '' : step.value.text)).join('')
  expect(text).toBe((await generation).text)
  expect(steps.at(-1)).toEqual({ done: true, value: undefined })
})

test('leaving the loop cancels the request', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const generation = engine.generate({ ...ENDLESS, model })
  for await (const _ of generation) break
  await until(() => engine.stats().running === 0)
  expect(await failure(generation)).toBeInstanceOf(CancelledError)
  expect(engine.stats().cancelled).toBe(1)
})

test('an error in the loop cancels the request, and the loop throws the error', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const mine = new Error('mine')
  const loop = async () => {
    for await (const _ of engine.generate({ ...ENDLESS, model })) throw mine
  }
  expect(await failure(loop())).toBe(mine)
  await until(() => engine.stats().running === 0)
})

test('a ReadableStream delivers the same text', async () => {
  const { engine, model } = await simulated()
  const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 32 })
  let text = ''
  for await (const chunk of generation.toReadableStream()) text += chunk.text
  expect(text).toBe((await generation).text)
})

test('cancelling a ReadableStream cancels the request', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const stream = engine.generate({ ...ENDLESS, model }).toReadableStream()
  const reader = stream.getReader()
  await reader.read()
  await reader.cancel()
  await until(() => engine.stats().running === 0)
})

test('a ReadableStream fails with the error of the generation', async () => {
  const { engine, model } = await simulated()
  const stream = engine.generate({ model, prompt: '' }).toReadableStream()
  expect(await failure(stream.getReader().read())).toMatchObject({ code: 'InvalidParams' })
})

test('a ReadableStream reads nothing ahead', async () => {
  const { engine, model } = await simulated()
  const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 8 })
  const stream = generation.toReadableStream()
  await generation
  const { value } = await stream.getReader().read()
  expect(value?.text).toBe((await generation).text)
})
