// Option names of other libraries: the error has the right name.

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
const generate = (params: object, options?: object) =>
  engine.generate({ model, prompt: 'a', maxTokens: 2, ...params } as never, options as never)

test.each<[string, unknown, string]>([
  ['stop', ['.'], '`stopSequences`'],
  ['max_tokens', 10, '`maxTokens`'],
  ['max_new_tokens', 10, '`maxTokens`'],
  ['maxOutputTokens', 10, '`maxTokens`'],
  ['max_completion_tokens', 10, '`maxTokens`'],
  ['num_predict', 10, '`maxTokens`'],
  ['temp', 0.5, '`temperature`'],
  ['guidance', {}, '`structured`'],
  ['keep_alive', '5m', '`modelLifecycle.idleUnloadMs`'],
  ['top_p', 0.5, '`topP`'],
  ['top_k', 5, '`topK`'],
  ['repeat_penalty', 1.1, '`repetitionPenalty`'],
  ['system', 'You are a pirate.', "role: 'system'"],
  ['stream', true, 'for await'],
  ['response_format', { type: 'json_object' }, '`structured`'],
  ['abortSignal', AbortSignal.abort(), 'generate(params, { signal })'],
  ['signal', AbortSignal.abort(), 'generate(params, { signal })'],
  ['timeoutMs', 10, 'generate(params, { timeoutMs })'],
])('the error about the param %s says what to write instead', async (name, value, answer) => {
  const error = await failure(generate({ [name]: value }))
  expect(error).toMatchObject({ code: 'InvalidParams', param: name })
  expect(error.message).toContain('is not an option; ')
  expect(error.message).toContain(answer)
})

test('errors about options and fields of messages say what to write instead', async () => {
  const abort = await failure(generate({}, { abortSignal: AbortSignal.abort() }))
  expect(abort.message).toBe('`options.abortSignal` is not an option; use `signal`')
  // The names that lib/ reads are known as well.
  expect((await failure(generate({}, { on_abort: 'throw' }))).message).toContain('did you mean `onAbort`?')
  expect((await failure(generate({}, { bogus: 1 }))).message).toMatch(/known are .*signal, onAbort/)
  const moved = await failure(generate({}, { maxTokens: 5 }))
  expect(moved.message).toContain('first argument')
  const messages = [{ role: 'assistant', content: 'a', reasoning_content: 'b' }]
  expect((await failure(generate({ prompt: undefined, messages }))).message).toContain('use `reasoning`')
})

test.each<[string, object, string]>([
  ['a Buffer', { prompt: Buffer.from('hello') }, 'decode it first'],
  ['a promise', { prompt: Promise.resolve('hello') }, 'a promise: await it first'],
  ['a Buffer as a message', { prompt: undefined, messages: [Buffer.from('a')] }, 'decode it first'],
  ['a promise as params of a template', { prompt: { template: 'a', variables: Promise.resolve({}) } }, 'promise'],
])('the error about %s says what the value is', async (_, params, answer) => {
  const error = await failure(generate(params))
  expect(error.code).toBe('InvalidParams')
  expect(error.message).toContain(answer)
})

test('the error about a model that is a promise or unknown says so', async () => {
  const error = await failure(engine.generate({ model: engine.loadModel() as never, prompt: 'a' }))
  expect(error).toMatchObject({ code: 'InvalidParams', param: 'model' })
  expect(error.message).toContain('await loadModel()')
  const long = await failure(
    engine.generate({ model: 'mlx-community/a-model-with-a-very-long-name-4bit', prompt: 'a' }),
  )
  expect(long.message).toContain('no model with id "mlx-community/a-model-with-a-very-long-n"… is loaded')
  expect((await failure(engine.loadModel(5 as never))).message).toBe(
    '`model` must be the path of a model folder, or { path }, not 5',
  )
})
