// Errors, attempts and aborts of the chat model of LangChain.

import { BackendError, type Engine, type Generation, MlxServingError, OverloadedError } from 'mlx-serving'
import { ChatMlx } from 'mlx-serving/langchain'
import { expect, test } from 'vitest'
import { failure, M3_MAX, until } from '../support.js'
import { device, scripted } from './langchain.js'
import { retrying } from './timers.js'

/** Params of an answer that takes 13 s on a simulated M3 Max: tests cancel it. */
const LONG = { maxTokens: 2000, ignoreEos: true }

/** An engine with room for one request. That request runs for 13 s, unless a test cancels it. */
async function full(maxRetries: number) {
  const ready = await device(M3_MAX, { scheduler: { maxPending: 1 } }, { maxRetries })
  const running = ready.engine.generate({ model: ready.model, prompt: 'Tell me everything.', ...LONG })
  running.catch(() => {})
  await until(() => ready.engine.stats().running === 1)
  return { ...ready, running }
}

test('a request to a full engine is retried after at least a second, then the error is thrown', async () => {
  const { chat, engine } = await full(2)
  const delays = retrying()
  const error = await failure(chat.invoke('Hi'))
  expect(error).toBeInstanceOf(OverloadedError)
  expect(engine.stats().rejected.pending).toBe(3)
  expect(delays).toHaveLength(2)
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(1000)
  const once = failure(chat.invoke('Hi', { maxRetries: 0 }))
  expect(await once).toBeInstanceOf(OverloadedError)
  expect(engine.stats().rejected.pending).toBe(4)
})

test('a stream that a full engine refuses is retried, and then answers', async () => {
  const { chat, running, engine } = await full(1000)
  retrying()
  const stream = chat.stream('Hi', { maxTokens: 2 })
  await until(() => engine.stats().rejected.pending > 0)
  running.cancel()
  let text = ''
  for await (const chunk of await stream) text += chunk.text
  expect(text).not.toBe('')
})

test('an answer that fails is retried; a stream that fails after its first chunk throws the error of the engine', async () => {
  const { chat, engine } = await scripted([
    { errorAfterTokens: 0 },
    { text: 'Hello!' },
    { text: 'One two three four five', errorAfterTokens: 3 },
  ])
  retrying()
  expect((await chat.invoke('Hi')).text).toBe('Hello!')
  expect(engine.stats().failed).toBe(1)
  let text = ''
  const read = async () => {
    for await (const chunk of await chat.stream('Hi')) text += chunk.text
  }
  expect(await failure(read())).toBeInstanceOf(BackendError)
  expect(text).not.toBe('')
})

test('errors that a retry cannot fix are thrown at once, as errors of the engine', async () => {
  const { chat, engine, model } = await scripted([])
  const delays = retrying()
  const cases: [object, string][] = [
    [{ temperature: 3 }, 'InvalidParams'],
    [{ maxTokens: 1_000_000 }, 'ContextLengthExceeded'],
    [{ timeoutMs: 0 }, 'Timeout'],
    [{ structured: { regex: '(' } }, 'GuidanceError'],
  ]
  for (const [options, code] of cases) {
    const error = await failure(chat.invoke('Hi', options))
    expect([error instanceof MlxServingError, error.code]).toEqual([true, code])
    expect(await failure(chat.stream('Hi', options))).toMatchObject({ code })
  }
  await engine.unloadModel(model)
  expect(await failure(chat.invoke('Hi'))).toMatchObject({ code: 'ModelNotLoaded' })
  expect(delays).toEqual([])
})

test('an abort cancels the request, and so does a reader that leaves', async () => {
  const { chat, engine, model } = await device(M3_MAX)
  const controller = new AbortController()
  const aborted = failure(chat.invoke('Hi', { ...LONG, signal: controller.signal }))
  await until(() => engine.stats().running === 1)
  controller.abort()
  expect((await aborted).name).toMatch(/Abort/)
  await until(() => engine.stats().running === 0)
  // The generation is kept, so garbage collection cannot cancel it.
  const kept: Generation[] = []
  const generate: Engine['generate'] = (...args) => {
    const generation = engine.generate(...args)
    kept.push(generation)
    return generation as ReturnType<typeof engine.generate<never>>
  }
  const keeping = new ChatMlx({ engine: { generate } as Engine, model })
  for await (const chunk of await keeping.stream('Hi', LONG)) if (chunk.text !== '') break
  expect(await failure(kept[0])).toMatchObject({ code: 'Cancelled' })
  await until(() => engine.stats().running === 0)
  expect(engine.stats()).toMatchObject({ cancelled: 2, completed: 0 })
})
