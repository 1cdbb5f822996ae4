// Concurrent generations: each has the same answer as when it runs alone.

import { OverloadedError } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { failure, longAnswer, M3_MAX, ON_MLX, type OnMlx, read, simulated } from './support.js'

describe.each<OnMlx>([...ON_MLX, ['a simulated device', () => simulated()]])('%s', (name, ready) => {
  test('an answer is the same alone and among many, in any order', async () => {
    const { engine, model } = await ready()
    const paramsOf = (n: number) => ({
      model,
      messages: [{ role: 'user' as const, content: `What is ${n} + ${n * 3}?` }],
      maxTokens: 4 + (n % 9),
      temperature: 0,
    })
    const numbers = Array.from({ length: 12 }, (_, n) => n)
    const alone: string[] = []
    for (const n of numbers) alone.push((await engine.generate(paramsOf(n))).text)
    const crowd = await Promise.all(numbers.map(n => engine.generate(paramsOf(n))))
    const reversed = await Promise.all([...numbers].reverse().map(n => engine.generate(paramsOf(n))))
    expect(crowd.map(result => result.text)).toEqual(alone)
    expect(reversed.reverse().map(result => result.text)).toEqual(alone)
  })

  test('generations of different lengths, awaited and streamed, all end', async () => {
    const { engine, model } = await ready()
    const count = name.includes('4-bit') ? 10 : 50
    const generations = Array.from({ length: count }, (_, n) =>
      engine.generate({ model, prompt: `Question ${'very '.repeat(n % 7)}${n}`, maxTokens: 1 + (n % 23) }),
    )
    const streamed = await Promise.all(generations.filter((_, n) => n % 2 === 0).map(read))
    const results = await Promise.all(generations)
    expect(streamed.map(({ text }) => text)).toEqual(results.filter((_, n) => n % 2 === 0).map(({ text }) => text))
    results.forEach((result, n) => {
      expect(result.tokens.length).toBeLessThanOrEqual(1 + (n % 23))
    })
    expect(engine.stats().completed).toBe(count)
  })
})

test('generations run together: a step has several rows', async () => {
  // All requests arrive during the first step, which takes more than 1 s.
  const faults = [{ step: 0, kind: 'stall' as const, ms: 1_000 }]
  const { engine, model } = await simulated(M3_MAX, { backend: { simulated: M3_MAX, faults } })
  const params = { ...(await longAnswer(40)), model, maxTokens: 40 }
  await Promise.all([1, 2, 3, 4].map(() => engine.generate(params)))
  expect(engine.stats().meanBatch).toBeGreaterThan(1.5)
})

test('without auto-tune batchSize bounds the rows of a step', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { batchSize: 1, autoTune: { enabled: false } } })
  const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
  await Promise.all([1, 2, 3].map(() => engine.generate(params)))
  expect(engine.stats().meanBatch).toBe(1)
})

test('with the scheduler off generations run one at a time', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false, batchSize: 8 } })
  const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
  await Promise.all([1, 2, 3].map(() => engine.generate(params)))
  expect(engine.stats().meanBatch).toBe(1)
})

test('with one row and several requests waiting, the next one starts when an answer ends by itself', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
  const answers = await Promise.all(['two', 'three', 'four', 'two'].map(prompt => engine.generate({ model, prompt })))
  expect(answers.map(({ finishReason }) => finishReason)).toEqual(['stop', 'stop', 'stop', 'stop'])
  expect(engine.stats().recoveries).toBe(0)
})

test('generations beyond maxPending are refused, and accepted again later', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: 4 } })
  const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
  const accepted = Array.from({ length: 4 }, () => engine.generate(params))
  const error = await failure(engine.generate(params))
  expect(error).toBeInstanceOf(OverloadedError)
  expect(error).toMatchObject({ code: 'Overloaded', limit: 4, requested: 5 })
  expect(error.retryAfterMs).toBeGreaterThan(0)
  await Promise.all(accepted)
  expect((await engine.generate(params)).tokens.length).toBe(20)
})

test('a failed generation does not affect others', async () => {
  const { engine, model } = await simulated()
  const params = { ...(await longAnswer(60)), model }
  const alone = await engine.generate(params)
  const neighbours = [1, 2, 3].map(() => engine.generate(params))
  const bad = [
    engine.generate({ model, prompt: '' }),
    engine.generate({ model, prompt: { tokens: [2 ** 32 - 1] } }),
    engine.generate(params, { timeoutMs: 0.001 }),
  ]
  await Promise.all(bad.map(failure))
  for (const neighbour of neighbours) expect((await neighbour).text).toBe(alone.text)
})
