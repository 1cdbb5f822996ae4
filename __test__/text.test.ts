// tokenize, detokenize and applyChatTemplate.

import { runInNewContext } from 'node:vm'
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

test('token ids from another realm, as under Jest, are accepted', async () => {
  const { engine, model } = await simulated()
  const tokens = await engine.tokenize({ model, text: 'Hello' })
  const [typed, list] = runInNewContext('[Uint32Array.from(tokens), Array.from(tokens)]', { tokens })
  expect(typed).not.toBeInstanceOf(Uint32Array)
  for (const foreign of [typed, list]) expect(await engine.detokenize({ model, tokens: foreign })).toBe('Hello')
})

test.each([2 ** 20 + 1, 2 ** 32 - 1])('a list of %i token ids is refused without being read', async length => {
  const { engine, model } = await simulated()
  const error = await failure(engine.detokenize({ model, tokens: new Array(length) }))
  expect(error).toBeInstanceOf(InvalidParamsError)
  expect(error).toMatchObject({ param: 'tokens', limit: 2 ** 20, requested: length })
})

const thrown = new Error('thrown by the caller')
const hostile = () => {
  throw thrown
}

test.each<[string, number[]]>([
  ['a getter', Object.defineProperty([1], 0, { get: hostile })],
  ['a proxy that cannot be read', new Proxy([1], { get: hostile })],
])('the error that %s in a list of token ids throws is the cause of the InvalidParamsError', async (_, tokens) => {
  const { engine, model } = await simulated()
  const error = await failure(engine.detokenize({ model, tokens }))
  expect(error).toBeInstanceOf(InvalidParamsError)
  expect(error).toMatchObject({ param: 'tokens', cause: thrown })
})

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

test('an error about a wrong param names the param', async () => {
  const { engine, model } = await simulated()
  const { proxy, revoke } = Proxy.revocable([], {})
  revoke()
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
    ['tokens', () => engine.detokenize({ model, tokens: proxy })],
    ['tokens', () => engine.detokenize({ model, tokens: [proxy as never] })],
    ['text', () => engine.tokenize({ model, text: proxy as never })],
    ['tokens', () => engine.detokenize({ model, tokens: new Array(2 ** 20) })],
    ['messages', () => engine.applyChatTemplate({ model, messages: 'a' as never })],
    ['messages', () => engine.applyChatTemplate({ model, messages: [] })],
  ]
  for (const [param, call] of bad) {
    const error = await failure(call())
    expect(error).toBeInstanceOf(InvalidParamsError)
    expect(error.param).toMatch(new RegExp(`^${param}\\b`))
  }
})

test('an unloaded model cannot be used', async () => {
  const { engine, model } = await simulated()
  await engine.unloadModel(model)
  expect(await failure(engine.tokenize({ model, text: 'a' }))).toBeInstanceOf(ModelError)
})
