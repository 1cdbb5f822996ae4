// A value that is too large is refused by its size, before it is read, copied or tokenized. A long text delays only its own
// call.

import { createEngine, type Engine, type ModelHandle } from 'mlx-serving'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { failure } from './support.js'

let engine: Engine
let model: ModelHandle

beforeAll(async () => {
  engine = await createEngine()
  model = await engine.loadModel()
})
afterAll(() => engine.dispose())

/** Calls without type checks. */
const generate = (params: object) => engine.generate({ model, maxTokens: 2, ...params } as never)

/** An array of this length. Reading its first item fails the test. */
function watched<T>(length: number, item: T): { list: T[]; reads: () => number } {
  const list = new Array<T>(length).fill(item)
  let reads = 0
  const get = () => {
    reads++
    return item
  }
  Object.defineProperty(list, 0, { get, enumerable: true })
  return { list, reads: () => reads }
}

const HUGE = 'x'.repeat(40_000_000)

test('a prompt with too many bytes for the context is refused before it is tokenized', async () => {
  const { submitted } = engine.stats()
  const error = await failure(generate({ prompt: 'hello world '.repeat(2_500_000) }))
  expect(error).toMatchObject({ code: 'ContextLengthExceeded', limit: model.contextLength })
  expect(error.message).toContain('30000000 bytes')
  expect((error as { requested?: number }).requested).toBeGreaterThan(model.contextLength)
  // The prompt was refused before the request was submitted, and so before its tokenization.
  expect(engine.stats().submitted).toBe(submitted)
})

test('a rendered template with too many bytes is refused before it is tokenized', async () => {
  const prompt = {
    template: '{% for _ in range(3000) %}{{ text }}{% endfor %}',
    variables: { text: 'abc '.repeat(80) },
  }
  expect(await failure(generate({ prompt }))).toMatchObject({ code: 'ContextLengthExceeded' })
})

test('a text with too many tokens is refused as soon as they exceed the context', async () => {
  const error = await failure(generate({ prompt: 'hello world '.repeat(500) }))
  expect(error).toMatchObject({ code: 'ContextLengthExceeded', limit: model.contextLength })
})

test('token ids beyond the context are refused without being read', async () => {
  const { list, reads } = watched(model.contextLength, 1)
  const error = await failure(generate({ prompt: { tokens: list } }))
  expect(error).toMatchObject({ code: 'ContextLengthExceeded', requested: model.contextLength + 1 })
  expect(reads()).toBe(0)
  const typed = new Uint32Array(2 ** 24)
  expect(await failure(generate({ prompt: { tokens: typed } }))).toMatchObject({ code: 'ContextLengthExceeded' })
})

test('too many messages, parts or calls are refused without being read', async () => {
  const { list, reads } = watched(16_385, { role: 'user', content: 'hi' })
  expect(await failure(generate({ messages: list }))).toMatchObject({
    code: 'InvalidParams',
    param: 'messages',
    limit: 16_384,
    requested: 16_385,
  })
  const parts = watched(16_384, { type: 'text', text: 'a' })
  const inParts = [{ role: 'user', content: parts.list }]
  expect(await failure(generate({ messages: inParts }))).toMatchObject({ param: 'messages[0].content' })
  expect([reads(), parts.reads()]).toEqual([0, 0])
})

test('too many stop token ids are refused without being read', async () => {
  const bias = Object.fromEntries(Array.from({ length: 4_097 }, (_, id) => [id, 1]))
  let reads = 0
  Object.defineProperty(bias, 0, { get: () => ++reads, enumerable: true })
  expect(await failure(generate({ prompt: 'a', logitBias: bias }))).toMatchObject({
    code: 'InvalidParams',
    param: 'logitBias',
    limit: 4_096,
    requested: 4_097,
  })
  const { list, reads: stops } = watched(4_097, 1)
  expect(await failure(generate({ prompt: 'a', stopTokenIds: list }))).toMatchObject({ param: 'stopTokenIds' })
  expect([reads, stops()]).toEqual([0, 0])
})

test.each<[string, string, object]>([
  ['a stop sequence', 'stopSequences[0]', { prompt: 'a', stopSequences: [HUGE] }],
  ['a choice', 'structured.choices[0]', { prompt: 'a', structured: { choices: [HUGE] } }],
  ['a regular expression', 'structured.regex', { prompt: 'a', structured: { regex: HUGE } }],
  ['a template', 'prompt.template', { prompt: { template: HUGE } }],
  ['a variable', 'prompt.variables.x', { prompt: { template: '{{ x }}', variables: { x: HUGE } } }],
  ['the name of a variable', 'prompt.variables', { prompt: { template: 'x', variables: { [HUGE]: 1 } } }],
  ['a message', 'messages[0].content', { messages: [{ role: 'user', content: HUGE }] }],
  ['a role', 'messages[0].role', { messages: [{ role: HUGE, content: 'a' }] }],
  ['a cache salt', 'cacheSalt', { prompt: 'a', cacheSalt: HUGE }],
])('%s of 40 MB is refused by its length', async (_, param, params) => {
  const error = await failure(generate(params))
  expect(error).toMatchObject({ param })
  expect(error.message.length).toBeLessThan(300)
})

test('a text beyond 32 MiB is not tokenized', async () => {
  expect(await failure(engine.tokenize({ model, text: HUGE }))).toMatchObject({ param: 'text', limit: 2 ** 25 })
})

test('a small request does not wait for all long texts before it', async () => {
  const order: string[] = []
  const text = 'one two three '.repeat(50_000)
  const long = Array.from({ length: 6 }, async () => {
    expect((await engine.tokenize({ model, text })).length).toBeGreaterThan(9)
    order.push('long')
  })
  await generate({ prompt: 'What is 1 + 1?' }).then(() => order.push('small'))
  await Promise.all(long)
  // Two long texts are tokenized at a time, so the last one ends long after the small request.
  expect([order.length, order.at(-1)]).toEqual([7, 'long'])
})
