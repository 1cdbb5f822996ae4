// createGenerator: one item for each token, then the metadata.

import type { GeneratorItem } from 'mlx-serving'
import { expect, test } from 'vitest'
import { ENDLESS, failure, M3_MAX, simulated, until } from './support.js'

test('a generator yields every token and then the metadata', async () => {
  const { engine, model } = await simulated()
  const params = { model, prompt: 'Hello', maxTokens: 24, temperature: 0 }
  const items: GeneratorItem[] = []
  for await (const item of engine.createGenerator(params)) items.push(item)
  const { text, tokens, finishReason, usage } = await engine.generate(params)
  const metadata = items.pop()
  expect(metadata).toMatchObject({ type: 'metadata', result: { finishReason, usage } })
  const texts = items.map(item => (item.type === 'token' ? item.token : ''))
  const ids = items.map(item => (item.type === 'token' ? item.tokenId : -1))
  expect(texts.join('')).toBe(text)
  expect(ids).toEqual([...tokens])
  expect(items.slice(0, -1).every(item => item.type === 'token' && !item.isFinal)).toBe(true)
})

test('nothing is submitted before the first next()', async () => {
  const { engine, model } = await simulated()
  const items = engine.createGenerator({ model, prompt: 'Hello' })
  expect(engine.stats().requests).toBe(0)
  await items.return()
  expect(await items.next()).toEqual({ done: true, value: undefined })
  expect(engine.stats().requests).toBe(0)
})

test('leaving the loop ends the work', async () => {
  const { engine, model } = await simulated(M3_MAX)
  for await (const _ of engine.createGenerator({ ...ENDLESS, model })) break
  await until(() => engine.stats().cancelled === 1)
})

/** A generator that waits for its first token in the queue, behind a long answer. */
async function queued() {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
  const first = engine.generate({ ...ENDLESS, model })
  await until(() => engine.stats().running === 1)
  const items = engine.createGenerator({ model, prompt: 'Hello' })
  const pending = [items.next(), items.next()]
  await until(() => engine.stats().queued === 1)
  const isFreed = () => engine.stats().running === 1 && engine.stats().queued === 0
  return { items, pending, isFreed, end: () => first.cancel() }
}

const DONE = { done: true, value: undefined }

test('return ends a waiting generator and its pending reads at once', async () => {
  const { items, pending, isFreed, end } = await queued()
  expect(await items.return()).toEqual(DONE)
  expect(await Promise.all(pending)).toEqual([DONE, DONE])
  await until(isFreed)
  expect(await items.next()).toEqual(DONE)
  end()
})

test('throw ends a waiting generator at once, and rejects with its argument', async () => {
  const { items, pending, isFreed, end } = await queued()
  const mine = new Error('mine')
  expect(await failure(items.throw(mine))).toBe(mine)
  expect(await Promise.all(pending)).toEqual([DONE, DONE])
  await until(isFreed)
  end()
})

test('disposing ends a waiting generator', async () => {
  const { items, pending, isFreed, end } = await queued()
  await items[Symbol.asyncDispose]()
  expect(await Promise.all(pending)).toEqual([DONE, DONE])
  await until(isFreed)
  end()
})

test('a generator has all members of an async generator', async () => {
  const { engine, model } = await simulated()
  const create = () => engine.createGenerator({ model, prompt: 'Hello', maxTokens: 4 })
  const items = create()
  expect(items[Symbol.asyncIterator]()).toBe(items)
  expect(`${items}`).toBe('[object AsyncGenerator]')
  const thrown = new Error('before its start')
  expect(await failure(items.throw(thrown))).toBe(thrown)
  expect(await items.next()).toEqual(DONE)
  const all = create()
  const steps = await Promise.all(Array.from({ length: 8 }, () => all.next()))
  const types = steps.map(({ done, value }) => (done ? 'done' : value.type))
  expect(types).toEqual(['token', 'token', 'token', 'token', 'metadata', 'done', 'done', 'done'])
})

test('next() throws the error of the generation', async () => {
  const { engine, model } = await simulated()
  expect(await failure(engine.createGenerator({ model, prompt: '' }).next())).toMatchObject({ code: 'InvalidParams' })
})
