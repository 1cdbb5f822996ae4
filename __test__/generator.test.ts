// createGenerator: an item for each token, then the figures.

import type { GeneratorItem } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, longAnswer, M3_MAX, simulated, until } from './support.js'

test('it yields every token and then the metadata', async () => {
  const { engine, model } = await simulated()
  const params = { model, prompt: 'Hello', maxTokens: 24, temperature: 0 }
  const items: GeneratorItem[] = []
  for await (const item of engine.createGenerator(params)) items.push(item)
  const { text, tokens, ...stats } = await engine.generate(params)
  const metadata = items.pop()
  expect(metadata).toMatchObject({ type: 'metadata', stats: { finishReason: stats.finishReason, usage: stats.usage } })
  const texts = items.map(item => (item.type === 'token' ? item.token : ''))
  const ids = items.map(item => (item.type === 'token' ? item.tokenId : -1))
  expect(texts.join('')).toBe(text)
  expect(ids).toEqual([...tokens])
  expect(items.slice(0, -1).every(item => item.type === 'token' && !item.isFinal)).toBe(true)
})

test('nothing is submitted before the first item is asked for', async () => {
  const { engine, model } = await simulated()
  const items = engine.createGenerator({ model, prompt: 'Hello' })
  expect(engine.stats().requests).toBe(0)
  await items.return()
  expect(await items.next()).toEqual({ done: true, value: undefined })
  expect(engine.stats().requests).toBe(0)
})

test('leaving the loop ends the work', async () => {
  const { engine, model } = await simulated(M3_MAX)
  for await (const _ of engine.createGenerator({ ...(await longAnswer(100)), model })) break
  await until(() => engine.stats().cancelled === 1)
})

test('it throws what the generation fails with', async () => {
  const { engine, model } = await simulated()
  expect(await failure(engine.createGenerator({ model, prompt: '' }).next())).toMatchObject({ code: 'InvalidParams' })
})
