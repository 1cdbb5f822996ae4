// tokenize, detokenize and applyChatTemplate.

import { InvalidParamsError, ModelError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, simulated } from './support.js'

test.each(['', 'Hello', 'What is 12 + 7?', 'Ünïcödé 🙂 日本', '  spaces\n\tand more  '])(
  'detokenize undoes tokenize: %j',
  async text => {
    const { engine, model } = await simulated()
    const tokens = await engine.tokenize({ model, text })
    expect(tokens).toBeInstanceOf(Uint32Array)
    expect(await engine.detokenize({ model, tokens })).toBe(text)
    expect(await engine.detokenize({ model: 'demo', tokens: [...tokens] })).toBe(text)
  },
)

test('a chat template renders every turn', async () => {
  const { engine, model } = await simulated()
  const messages = [
    { role: 'user', content: 'What is 12 + 7?' },
    { role: 'assistant', content: '19' },
    { role: 'user', content: 'and minus 3?' },
  ]
  const text = await engine.applyChatTemplate({ model, messages })
  const places = messages.map(({ content }) => text.indexOf(content))
  expect(places).toEqual([...places].sort((a, b) => a - b))
  expect(places[0]).toBeGreaterThanOrEqual(0)
})

test('what is wrong is said by name', async () => {
  const { engine, model } = await simulated()
  const bad: [string, () => Promise<unknown>][] = [
    ['text', () => engine.tokenize({ model, text: 4 as never })],
    ['texts', () => engine.tokenize({ model, texts: 'a' } as never)],
    ['model', () => engine.tokenize({ text: 'a' } as never)],
    ['model', () => engine.tokenize(null as never)],
    ['params', () => engine.tokenize('a' as never)],
    ['tokens', () => engine.detokenize({ model, tokens: 'a' as never })],
    ['tokens', () => engine.detokenize({ model, tokens: [-1] })],
    ['tokens', () => engine.detokenize({ model, tokens: [1.5] })],
    ['tokens', () => engine.detokenize({ model, tokens: [Number.NaN] })],
    ['tokens', () => engine.detokenize({ model, tokens: [2 ** 32] })],
    ['tokens', () => engine.detokenize({ model, tokens: [2 ** 32 - 1] })],
    ['messages', () => engine.applyChatTemplate({ model, messages: 'a' as never })],
    ['messages', () => engine.applyChatTemplate({ model, messages: [] })],
  ]
  for (const [param, call] of bad) {
    const error = await failure(call())
    expect(error).toBeInstanceOf(InvalidParamsError)
    expect(error.param).toMatch(new RegExp(`^${param}\\b`))
  }
})

test('a model that was unloaded has no text either', async () => {
  const { engine, model } = await simulated()
  await engine.unloadModel(model)
  expect(await failure(engine.tokenize({ model, text: 'a' }))).toBeInstanceOf(ModelError)
})
