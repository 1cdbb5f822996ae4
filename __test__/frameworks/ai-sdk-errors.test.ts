// Errors through the AI SDK: which ones it retries and when, and which ones the caller gets at once.

import { APICallError, generateText, RetryError, streamText } from 'ai'
import { BackendError, createEngine, MlxServingError, OverloadedError } from 'mlx-serving'
import { createMlx } from 'mlx-serving/ai-sdk'
import { expect, onTestFinished, test } from 'vitest'
import { failure, M3_MAX, until } from '../support.js'
import { device, scripted } from './ai-sdk.js'
import { retrying } from './timers.js'

/** An engine with room for one request. That request runs for 13 s, unless a test cancels it. */
async function full() {
  const ready = await device(M3_MAX, { scheduler: { maxPending: 1 } })
  const params = { prompt: 'Tell me everything.', ignoreEos: true, maxTokens: 2000 }
  const running = ready.engine.generate({ model: ready.model, ...params })
  running.catch(() => {})
  await until(() => ready.engine.stats().running === 1)
  return { ...ready, running }
}

test('a request to a full engine is retried after the time that the error says', async () => {
  const { mlx } = await full()
  const delays = retrying()
  const error = await failure(generateText({ model: mlx, prompt: 'Hi', maxRetries: 2 }))
  expect(RetryError.isInstance(error)).toBe(true)
  const { errors, reason } = error as unknown as RetryError
  expect([errors.length, reason]).toEqual([3, 'maxRetriesExceeded'])
  const refusals = errors.map(each => {
    expect(APICallError.isInstance(each)).toBe(true)
    expect(each).toMatchObject({ isRetryable: true, statusCode: 429, data: { code: 'Overloaded' } })
    return (each as APICallError).cause as OverloadedError
  })
  expect(refusals.every(cause => cause instanceof OverloadedError)).toBe(true)
  expect(delays).toEqual(refusals.slice(0, 2).map(({ retryAfterMs }) => retryAfterMs))
})

test('a stream that a full engine refuses is retried, and then answers', async () => {
  const { mlx, running, engine } = await full()
  retrying()
  const stream = streamText({ model: mlx, prompt: 'Hi', maxOutputTokens: 2, maxRetries: 1000 })
  const text = stream.text
  await until(() => engine.stats().rejected.pending > 0)
  running.cancel()
  expect(await text).not.toBe('')
})

test('a request whose step failed is retried', async () => {
  const { mlx, engine } = await scripted([{ errorAfterTokens: 0 }, { text: 'Hello!' }])
  const delays = retrying()
  expect((await generateText({ model: mlx, prompt: 'Hi' })).text).toBe('Hello!')
  expect([engine.stats().failed, delays.length]).toEqual([1, 1])
})

test('a failure in the middle of a stream is an error part, and the stream has an end', async () => {
  const { mlx } = await scripted([{ text: 'One two three four five', errorAfterTokens: 3 }])
  const errors: unknown[] = []
  const stream = streamText({ model: mlx, prompt: 'Hi', onError: ({ error }) => void errors.push(error) })
  const types: string[] = []
  for await (const { type } of stream.fullStream) types.push(type)
  expect(types).toContain('text-delta')
  expect(errors).toHaveLength(1)
  expect((errors[0] as Error).cause).toBeInstanceOf(BackendError)
  expect(await stream.finishReason).toBe('error')
  expect((await stream.usage).outputTokens).toBe(3)
})

test('errors that a retry cannot fix are thrown at once, as errors of the engine', async () => {
  const { mlx, engine, model } = await scripted([])
  const delays = retrying()
  const asked = { model: mlx, prompt: 'Hi' }
  const cases: [object, string][] = [
    [{ temperature: 3 }, 'InvalidParams'],
    [{ maxOutputTokens: 1_000_000 }, 'ContextLengthExceeded'],
    [{ providerOptions: { mlx: { timeoutMs: 0 } } }, 'Timeout'],
    [{ providerOptions: { mlx: { structured: { regex: '(' } } } }, 'GuidanceError'],
    [{ model: createMlx({ engine })('/no/such/folder') }, 'ModelNotFound'],
  ]
  for (const [more, code] of cases) {
    const error = await failure(generateText({ ...asked, ...more }))
    expect([error instanceof MlxServingError, error.code]).toEqual([true, code])
    const streamed: unknown[] = []
    await streamText({ ...asked, ...more, onError: ({ error }) => void streamed.push(error) }).consumeStream()
    expect(streamed[0]).toMatchObject({ code })
  }
  await engine.unloadModel(model)
  expect(await failure(generateText(asked))).toMatchObject({ code: 'ModelNotLoaded' })
  expect(delays).toEqual([])
})

test('the deadline of a call counts while its model is loaded, first or again', async () => {
  const engine = await createEngine({ backend: { simulated: 'instant' } })
  onTestFinished(() => engine.dispose())
  const load = engine.loadModel.bind(engine)
  let numLoads = 0
  engine.loadModel = async options => {
    numLoads++
    const { signal } = options as { signal?: AbortSignal }
    // The first load ends only when it is aborted.
    if (numLoads === 1) await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))
    return load(options)
  }
  const model = createMlx({ engine })()
  const timed = (timeoutMs: number) =>
    generateText({ model, prompt: 'Hi', maxOutputTokens: 1, providerOptions: { mlx: { timeoutMs } }, maxRetries: 0 })
  expect(await failure(timed(50))).toMatchObject({ code: 'Timeout' })
  await timed(60_000)
  await engine.unloadModel('demo', { forget: false })
  await timed(60_000)
  // The engine loaded it again for the request, within the deadline of the request.
  expect([numLoads, engine.getModelInfo('demo')?.loads]).toEqual([2, 2])
})

test('an abort ends a load unless another call waits for it', async () => {
  const engine = await createEngine({ backend: { simulated: 'instant' } })
  onTestFinished(() => engine.dispose())
  const mlx = createMlx({ engine })()
  const abortSignal = AbortSignal.abort()
  expect((await failure(generateText({ model: mlx, prompt: 'Hi', abortSignal }))).name).toBe('AbortError')
  const controller = new AbortController()
  const alone = failure(mlx.doGenerate({ prompt: [], abortSignal: controller.signal }))
  controller.abort()
  expect((await alone).name).toBe('AbortError')
  expect(engine.listModels()).toEqual([])
  const left = new AbortController()
  const aborted = failure(generateText({ model: mlx, prompt: 'Hi', abortSignal: left.signal }))
  const other = generateText({ model: mlx, prompt: 'Hi', maxOutputTokens: 2 })
  left.abort()
  expect((await aborted).name).toBe('AbortError')
  expect((await other).finishReason).toBe('length')
})
