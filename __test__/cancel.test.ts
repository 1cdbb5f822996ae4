// Ending a generation without a signal: cancel keeps the tokens so far, disposing drops them.

import { CancelledError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { ENDLESS, failure, M3_MAX, read, simulated, until } from './support.js'

test('cancel ends an awaited generation with the tokens so far', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const generation = engine.generate({ ...ENDLESS, model })
  const settled = generation.then(result => result)
  await until(() => engine.stats().generatedTokens > 3)
  generation.cancel()
  const { finishReason, text, tokens } = await settled
  expect(finishReason).toBe('cancelled')
  expect(tokens.length).toBeGreaterThan(3)
  const same = await engine.generate({ ...ENDLESS, model, maxTokens: tokens.length })
  expect([text, tokens]).toEqual([same.text, same.tokens])
})

test('cancel ends a loop with the tokens so far', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const generation = engine.generate({ ...ENDLESS, model })
  let text = ''
  for await (const chunk of generation) {
    text += chunk.text
    generation.cancel()
  }
  expect(await generation).toMatchObject({ finishReason: 'cancelled', text })
})

test('cancel has no effect twice, after the end, or after a failure', async () => {
  const { engine, model } = await simulated()
  const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 2 })
  const result = await generation
  generation.cancel()
  generation.cancel()
  expect(await generation).toBe(result)
  const failed = engine.generate({ model, prompt: '' })
  failed.cancel()
  expect(await failure(failed)).toMatchObject({ code: 'InvalidParams' })
})

test('disposing ends the work and drops the answer', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const generation = engine.generate({ ...ENDLESS, model })
  await generation[Symbol.asyncDispose]()
  expect(await failure(generation)).toBeInstanceOf(CancelledError)
  expect(await read(generation).catch(error => error.code)).toBe('Cancelled')
  await until(() => engine.stats().cancelled === 1)
})

test('disposing a generation that has ended keeps its result', async () => {
  const { engine, model } = await simulated()
  const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 2 })
  const result = await generation
  await generation[Symbol.asyncDispose]()
  expect(await generation).toBe(result)
})
