// A wrong call fails with a typed error that names the param. The engine and other requests go on.

import { createEngine, type Engine, InvalidParamsError, type ModelHandle } from 'mlx-serving'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { failure } from './support.js'

let engine: Engine
let model: ModelHandle

beforeAll(async () => {
  engine = await createEngine()
  model = await engine.loadModel()
})
afterAll(() => engine.dispose())
afterEach(async () => {
  const { tokens } = await engine.generate({ model, prompt: 'Hello', maxTokens: 2 })
  expect(tokens.length).toBeGreaterThan(0)
})

/** Calls without type checks. */
const generate = (params: unknown, options?: unknown) => engine.generate(params as never, options as never)

const thrown = new Error('thrown by the caller')
const hostile = () => {
  throw thrown
}
const cycle: Record<string, unknown> = {}
cycle.self = cycle
const revoked = Proxy.revocable({}, {})
revoked.revoke()

describe('params', () => {
  test.each<[string, string | undefined, object]>([
    ['both prompt and messages', undefined, { prompt: 'a', messages: [{ role: 'user', content: 'a' }] }],
    ['neither prompt nor messages', undefined, {}],
    ['an empty prompt', 'prompt', { prompt: '' }],
    ['a prompt of no tokens', 'prompt', { prompt: { tokens: [] } }],
    ['a prompt that is a number', 'prompt', { prompt: 4 }],
    ['a prompt that is null', 'prompt', { prompt: null }],
    ['a prompt that is an empty object', 'prompt', { prompt: {} }],
    ['a token that is negative', 'prompt', { prompt: { tokens: [-1] } }],
    ['a token that is a fraction', 'prompt', { prompt: { tokens: [1.5] } }],
    ['a token that is NaN', 'prompt', { prompt: { tokens: [Number.NaN] } }],
    ['a token that is a string', 'prompt', { prompt: { tokens: ['1'] } }],
    ['a token outside the vocabulary', 'prompt', { prompt: { tokens: [2 ** 32 - 1] } }],
    ['a typed token outside the vocabulary', 'prompt', { prompt: { tokens: Uint32Array.of(1_000_000) } }],
    ['messages that are empty', 'messages', { messages: [] }],
    ['messages that are a string', 'messages', { messages: 'hello' }],
    ['a message that is null', 'messages', { messages: [null] }],
    ['a message without role', 'messages', { messages: [{ content: 'a' }] }],
    ['a message without content', 'messages', { messages: [{ role: 'user' }] }],
    ['a message whose role is a number', 'messages', { messages: [{ role: 1, content: 'a' }] }],
    ['a part of an unknown type', 'messages', { messages: [{ role: 'user', content: [{ type: 'image', text: '' }] }] }],
    ['maxTokens 0', 'maxTokens', { prompt: 'a', maxTokens: 0 }],
    ['maxTokens negative', 'maxTokens', { prompt: 'a', maxTokens: -1 }],
    ['maxTokens NaN', 'maxTokens', { prompt: 'a', maxTokens: Number.NaN }],
    ['maxTokens a fraction', 'maxTokens', { prompt: 'a', maxTokens: 1.5 }],
    ['maxTokens a string', 'maxTokens', { prompt: 'a', maxTokens: '4' }],
    ['maxTokens a bigint', 'maxTokens', { prompt: 'a', maxTokens: 4n }],
    ['maxTokens infinite', 'maxTokens', { prompt: 'a', maxTokens: Number.POSITIVE_INFINITY }],
    ['temperature negative', 'temperature', { prompt: 'a', temperature: -0.1 }],
    ['temperature NaN', 'temperature', { prompt: 'a', temperature: Number.NaN }],
    ['temperature huge', 'temperature', { prompt: 'a', temperature: 1e300 }],
    ['temperature a string', 'temperature', { prompt: 'a', temperature: 'hot' }],
    ['topP 0', 'topP', { prompt: 'a', topP: 0 }],
    ['topP above 1', 'topP', { prompt: 'a', topP: 1.01 }],
    ['topP NaN', 'topP', { prompt: 'a', topP: Number.NaN }],
    ['seed negative', 'seed', { prompt: 'a', seed: -1 }],
    ['seed a fraction', 'seed', { prompt: 'a', seed: 0.5 }],
    ['seed beyond what a number holds exactly', 'seed', { prompt: 'a', seed: 2 ** 60 }],
    ['stopSequences a string', 'stopSequences', { prompt: 'a', stopSequences: 'a' }],
    ['stopSequences with a number', 'stopSequences', { prompt: 'a', stopSequences: [1] }],
    ['stopSequences with an empty text', 'stopSequences', { prompt: 'a', stopSequences: [''] }],
    ['a list that holds nothing', 'stopTokenIds', { prompt: 'a', stopTokenIds: new Array(1000) }],
    ['a list of ids of the greatest length', 'stopTokenIds', { prompt: 'a', stopTokenIds: new Array(2 ** 32 - 1) }],
    ['a list of texts of the greatest length', 'stopSequences', { prompt: 'a', stopSequences: new Array(2 ** 32 - 1) }],
    ['a list of messages of the greatest length', 'messages', { messages: new Array(2 ** 32 - 1) }],
    ['a misspelt key', 'maxToken', { prompt: 'a', maxToken: 4 }],
    ['a cycle', 'self', { prompt: 'a', ...cycle }],
    ['a prompt with a cycle', 'prompt', { prompt: cycle }],
  ])('%s', async (_, param, params) => {
    const error = await failure(generate({ model, ...params }))
    expect(error).toBeInstanceOf(InvalidParamsError)
    expect(error.code).toBe('InvalidParams')
    if (param !== undefined) expect(error.param).toMatch(new RegExp(`^${param}\\b`))
  })

  test('the error about a misspelt key names the right key', async () => {
    expect((await failure(generate({ model, prompt: 'a', maxToken: 4 }))).message).toContain('maxTokens')
    expect((await failure(generate({ model, prompt: 'a' }, { timeoutMS: 4 }))).message).toContain('timeoutMs')
  })

  test('null and undefined mean absent', async () => {
    const absent = await generate({ model, prompt: 'Hello', maxTokens: 4 })
    const params = { model, prompt: 'Hello', maxTokens: 4, messages: null, seed: undefined, stopSequences: undefined }
    expect((await generate(params, { signal: null, timeoutMs: undefined, onAbort: null })).text).toBe(absent.text)
  })

  test.each([
    ['null', null],
    ['a string', 'a'],
    ['an array', []],
    ['absent', undefined],
    ['a revoked proxy', revoked.proxy],
  ])('%s instead of an object', async (_, params) => {
    expect(await failure(generate(params))).toBeInstanceOf(InvalidParamsError)
  })

  test('a prompt longer than the context', async () => {
    const error = await failure(
      generate({ model, prompt: { tokens: new Uint32Array(model.contextLength + 1).fill(1) } }),
    )
    expect(error).toBeInstanceOf(InvalidParamsError)
    expect(error).toMatchObject({ code: 'ContextLengthExceeded', limit: model.contextLength })
    expect(error.requested).toBeGreaterThan(model.contextLength)
  })

  test('more tokens than the context has room for', async () => {
    const error = await failure(generate({ model, prompt: 'Hello', maxTokens: 2 ** 31 - 1 }))
    expect(['ContextLengthExceeded', 'InvalidParams']).toContain(error.code)
  })
})

describe('options', () => {
  test.each<[string, string, object]>([
    ['timeoutMs negative', 'options.timeoutMs', { timeoutMs: -1 }],
    ['timeoutMs NaN', 'options.timeoutMs', { timeoutMs: Number.NaN }],
    ['timeoutMs a string', 'options.timeoutMs', { timeoutMs: '10' }],
    ['a signal that is no AbortSignal', 'options.signal', { signal: {} }],
    ['a signal that throws', 'options.signal', { signal: new Proxy({}, { get: hostile }) }],
    ['onAbort unknown', 'options.onAbort', { onAbort: 'explode' }],
    ['an unknown key', 'options.timeout', { timeout: 4 }],
  ])('%s', async (_, param, options) => {
    const error = await failure(generate({ model, prompt: 'Hello' }, options))
    expect(error).toBeInstanceOf(InvalidParamsError)
    expect(error.param).toBe(param)
  })
})

describe('hostile objects', () => {
  test.each<[string, () => unknown]>([
    [
      'a getter',
      () => ({
        model,
        get prompt() {
          return hostile()
        },
      }),
    ],
    ['a proxy that cannot be listed', () => new Proxy({}, { ownKeys: hostile })],
    ['a proxy that cannot be read', () => new Proxy({ model, prompt: 'a' }, { get: hostile })],
    [
      'a getter inside the prompt',
      () => ({
        model,
        prompt: {
          get tokens() {
            return hostile()
          },
        },
      }),
    ],
    [
      'a getter inside a message',
      () => ({
        model,
        messages: [
          {
            role: 'user',
            get content() {
              return hostile()
            },
          },
        ],
      }),
    ],
    ['a proxy as a message', () => ({ model, messages: [new Proxy({}, { get: hostile })] })],
  ])('what %s throws is the cause', async (_, params) => {
    const error = await failure(generate(params()))
    expect(error).toBeInstanceOf(InvalidParamsError)
    expect(error.cause).toBe(thrown)
  })

  test('the error about a revoked proxy names the param or option', async () => {
    const structured = await failure(generate({ model, prompt: 'a', structured: revoked.proxy }))
    expect(structured).toMatchObject({ code: 'InvalidParams', param: 'structured', cause: expect.any(TypeError) })
    const onAbort = await failure(generate({ model, prompt: 'a' }, { onAbort: revoked.proxy }))
    expect(onAbort).toMatchObject({ code: 'InvalidParams', param: 'options.onAbort' })
  })

  test('each property is read once', async () => {
    let reads = 0
    const params = {
      model,
      prompt: 'Hello',
      get maxTokens() {
        return ++reads
      },
    }
    const { tokens } = await generate(params)
    expect([reads, tokens.length]).toEqual([1, 1])
  })

  test('a proxy of a list is refused', async () => {
    const stopSequences = new Proxy([], { get: hostile })
    expect(await failure(generate({ model, prompt: 'a', stopSequences }))).toBeInstanceOf(InvalidParamsError)
  })

  test('properties of Object.prototype are not options', async () => {
    Object.defineProperty(Object.prototype, 'seed', { value: 5, configurable: true, enumerable: true, writable: true })
    try {
      const inherited = await generate({ model, prompt: 'Hello', maxTokens: 1 })
      expect(inherited.seed).not.toBe(5)
    } finally {
      Reflect.deleteProperty(Object.prototype, 'seed')
    }
  })

  test('a getter may start another generation', async () => {
    let inner: PromiseLike<unknown> | undefined
    const params = {
      model,
      prompt: 'Hello',
      get maxTokens() {
        inner = generate({ model, prompt: 'Hello', maxTokens: 2 })
        return 2
      },
    }
    expect(await generate(params)).toMatchObject({ text: ((await inner) as { text: string }).text })
  })
})

describe('model', () => {
  test.each<[string, unknown, string]>([
    ['absent', undefined, 'InvalidParams'],
    ['null', null, 'InvalidParams'],
    ['a number', 0, 'InvalidParams'],
    ['an unknown id', 'unknown', 'ModelNotLoaded'],
    ['an object that is no handle', {}, 'ModelNotLoaded'],
  ])('%s', async (_, wrong, code) => {
    expect(await failure(generate({ model: wrong, prompt: 'Hello' }))).toMatchObject({ code, param: 'model' })
  })
})
