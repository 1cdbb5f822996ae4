// An awaited generation: the fields of its result, with MLX and on a simulated device.

import { describe, expect, test } from 'vitest'
import { simulated, withMlx } from './support.js'

describe.each([
  ['with MLX', withMlx],
  ['simulated', simulated],
])('%s', (_, ready) => {
  test('text, tokens and usage of a prompt are consistent', async () => {
    const { engine, model } = await ready()
    const result = await engine.generate({ model, prompt: 'What is 12 + 7?', maxTokens: 12 })
    expect(result.tokens).toBeInstanceOf(Uint32Array)
    expect(result.usage.outputTokens).toBe(result.tokens.length)
    expect(result.usage.inputTokens).toBe((await engine.tokenize({ model, text: 'What is 12 + 7?' })).length)
    expect(result.usage.cachedInputTokens).toBe(0)
    expect(result.served).toBe('computed')
    expect(result.tokens.length).toBeGreaterThan(0)
  })

  test('messages are rendered by the chat template of the model', async () => {
    const { engine, model } = await ready()
    const messages = [{ role: 'user', content: 'What is 12 + 7?' }]
    const rendered = await engine.applyChatTemplate({ model, messages })
    expect(rendered).toContain('What is 12 + 7?')
    const fromMessages = await engine.generate({ model, messages, maxTokens: 8, temperature: 0 })
    const parts = [{ role: 'user', content: [{ type: 'text' as const, text: 'What is 12 + 7?' }] }]
    const fromParts = await engine.generate({ model, messages: parts, maxTokens: 8, temperature: 0 })
    expect(fromParts.text).toBe(fromMessages.text)
    expect(fromParts.usage).toEqual(fromMessages.usage)
  })

  test('a prompt of token ids is used unchanged', async () => {
    const { engine, model } = await ready()
    const tokens = await engine.tokenize({ model, text: 'What is 12 + 7?' })
    const params = { model, maxTokens: 8, temperature: 0 }
    const fromText = await engine.generate({ ...params, prompt: 'What is 12 + 7?' })
    const fromTokens = await engine.generate({ ...params, prompt: { tokens } })
    const fromArray = await engine.generate({ ...params, prompt: { tokens: [...tokens] } })
    expect(fromTokens.tokens).toEqual(fromText.tokens)
    expect(fromArray.tokens).toEqual(fromText.tokens)
  })

  test('the answer ends after maxTokens', async () => {
    const { engine, model } = await ready()
    const messages = [{ role: 'user', content: 'What is 12 + 7?' }]
    const result = await engine.generate({ model, messages, maxTokens: 1 })
    expect(result.tokens.length).toBe(1)
    expect(result.finishReason).toBe('length')
  })

  test('a seed reproduces a sampled answer', async () => {
    const { engine, model } = await ready()
    const params = { model, prompt: 'Hello', maxTokens: 16, temperature: 1 }
    const sampled = await engine.generate(params)
    expect(Number.isSafeInteger(sampled.seed)).toBe(true)
    const again = await engine.generate({ ...params, seed: sampled.seed })
    expect(again.text).toBe(sampled.text)
    expect(again.seed).toBe(sampled.seed)
  })

  test('timings are in milliseconds and add up', async () => {
    const { engine, model } = await ready()
    const { timings, tokens } = await engine.generate({ model, prompt: 'What is 12 + 7?', maxTokens: 8 })
    const { queueMs, prefillMs, ttftMs, decodeMs, totalMs, tokensPerSecond } = timings
    expect(queueMs + prefillMs).toBeCloseTo(ttftMs, 3)
    expect(totalMs).toBeGreaterThanOrEqual(ttftMs + decodeMs - 0.001)
    if (tokens.length > 1 && decodeMs > 0) {
      expect(tokensPerSecond).toBeCloseTo(((tokens.length - 1) / decodeMs) * 1000, 6)
    }
  })
})

test('the demo model answers questions of its domain', async () => {
  const { engine, model } = await withMlx()
  const ask = (content: string) => engine.generate({ model, messages: [{ role: 'user', content }], temperature: 0 })
  const [sum, capital] = await Promise.all([ask('What is 12 + 7?'), ask('What is the capital of France?')])
  expect(sum.text).toContain('19')
  expect(capital.text).toContain('Paris')
  expect([sum.finishReason, capital.finishReason]).toEqual(['stop', 'stop'])
})

test('each await gives the same object', async () => {
  const { engine, model } = await simulated()
  const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 4 })
  const [first, second] = await Promise.all([generation, generation])
  expect(second).toBe(first)
  expect(await generation.finally(() => {})).toBe(first)
})
