// A chat model often ends its turn at once after a plain text. The result says so, and says what to do.

import { expect, test } from 'vitest'
import { PROMPT, PROMPT_OF_NOTHING, speaking } from './speaking.js'
import { ON_MLX, read, withMlx } from './support.js'

const QUESTION = 'What is 12 + 7?'
const WARNING = [expect.stringContaining('pass `messages` instead')]

test.each(ON_MLX)('a plain question to a chat model has a warning beside its empty answer: %s', async (_, open) => {
  const { engine, model } = await open()
  const generation = engine.generate({ model, prompt: QUESTION })
  const streamed = await read(generation)
  const result = await generation
  expect([streamed.text, result.text, result.finishReason]).toEqual(['', '', 'stop'])
  expect(result.warnings).toEqual(WARNING)
  const asked = await engine.generate({ model, messages: [{ role: 'user', content: QUESTION }] })
  expect(asked.text).toContain('19')
  expect(asked).not.toHaveProperty('warnings')
})

test('each way to read an empty answer has the warning: awaited, as items, as one of several, from the cache', async () => {
  const { engine, model } = await speaking('Paris.', PROMPT, { cache: {} })
  const params = { model, prompt: PROMPT_OF_NOTHING }
  expect(await engine.generate(params)).toMatchObject({ text: '', finishReason: 'stop', warnings: WARNING })
  for await (const item of engine.createGenerator(params)) {
    if (item.type === 'metadata') expect(item.result.warnings).toEqual(WARNING)
    else expect(item.token).toBe('')
  }
  const { choices = [] } = await engine.generate({ ...params, n: 2 })
  expect(choices.map(({ warnings }) => warnings)).toEqual([WARNING, WARNING])
  expect(await engine.generate(params)).toMatchObject({ served: 'cached', warnings: WARNING })
})

test('an answer that is not empty, was not ended by the model, or follows a rendered chat has no warning', async () => {
  const { engine, model } = await withMlx()
  const end = 1
  const ask = async (prompt: string, more: object = {}) => engine.generate({ model, prompt, maxTokens: 8, ...more })
  const chat = await engine.applyChatTemplate({ model, messages: [{ role: 'user', content: QUESTION }] })
  expect((await ask(QUESTION)).warnings).toHaveLength(1)
  const others = [
    await ask(chat),
    await ask(chat, { logitBias: { [end]: 100 } }),
    await ask(QUESTION, { ignoreEos: true }),
    await ask(QUESTION, { minTokens: 2 }),
    await ask(QUESTION, { structured: { regex: '[a-z]{3}' } }),
  ]
  for (const result of others) expect(result).not.toHaveProperty('warnings')
  expect(others[1]).toMatchObject({ text: '', finishReason: 'stop' })
})
