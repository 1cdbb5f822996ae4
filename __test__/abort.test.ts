// AbortSignal at every stage of a generation, and the removal of listeners from signals.

import { getEventListeners } from 'node:events'
import type { EngineStats } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { ENDLESS, failure, M3_MAX, read, simulated, until } from './support.js'

const REASON = new Error('the caller went away')
interface Stage {
  /** Whether another generation has the only row. */
  isBehind?: true
  prompt?: { tokens: number[] }
  isReached(stats: EngineStats): boolean
}

/** The stages of a generation, on an engine that runs one request at a time. */
const stages: Record<string, Stage> = {
  queued: { isBehind: true, isReached: ({ queued }) => queued === 1 },
  // The prompt is read in six steps. The request counts as running after the first one.
  'in prefill': { prompt: { tokens: Array(3_000).fill(7) }, isReached: ({ running }) => running === 1 },
  'in decode': { isReached: ({ generatedTokens }) => generatedTokens > 0 },
}

describe.each(Object.entries(stages))('a generation that is aborted while it is %s', (_, stage) => {
  const start = async (onAbort: 'throw' | 'stop') => {
    const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
    const ahead = stage.isBehind ? [engine.generate({ ...ENDLESS, model })] : []
    if (stage.isBehind) await until(() => engine.stats().running === 1)
    const controller = new AbortController()
    const params = { ...ENDLESS, model, ...(stage.prompt && { prompt: stage.prompt }) }
    const generation = engine.generate(params, { signal: controller.signal, onAbort })
    await until(() => stage.isReached(engine.stats()))
    const endOthers = () => {
      for (const other of ahead) other.cancel()
    }
    return { engine, model, controller, generation: () => generation, endOthers }
  }

  test('it rejects with the reason of the signal and ends the work', async () => {
    const { engine, model, controller, generation, endOthers } = await start('throw')
    controller.abort(REASON)
    expect(await failure(generation())).toBe(REASON)
    await until(() => engine.stats().cancelled === 1)
    endOthers()
    const after = await engine.generate({ model, prompt: 'Hello', maxTokens: 2 })
    expect(after.usage.outputTokens).toBeGreaterThan(0)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  test('with onAbort stop it keeps the tokens so far', async () => {
    const { controller, generation, endOthers } = await start('stop')
    controller.abort(REASON)
    expect(await generation()).toMatchObject({ finishReason: 'cancelled' })
    endOthers()
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })
})

test('with a signal that is aborted already, generate rejects and submits nothing', async () => {
  const { engine, model } = await simulated()
  const generation = engine.generate({ model, prompt: 'Hello' }, { signal: AbortSignal.abort(REASON) })
  expect(await failure(generation)).toBe(REASON)
  expect(await failure(read(generation))).toBe(REASON)
  expect(engine.stats().requests).toBe(0)
})

test('with a signal that is aborted already and onAbort stop, the answer is empty or cut short', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const options = { signal: AbortSignal.abort(), onAbort: 'stop' as const }
  expect(await engine.generate({ ...ENDLESS, model }, options)).toMatchObject({ finishReason: 'cancelled' })
})

test('an abort without a reason rejects with an AbortError', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const controller = new AbortController()
  const generation = engine.generate({ ...ENDLESS, model }, { signal: controller.signal })
  controller.abort()
  expect((await failure(generation)).name).toBe('AbortError')
})

test.each([null, 0, '', 'gone'])('an abort with the reason %j rejects with it', async reason => {
  const { engine, model } = await simulated(M3_MAX)
  const controller = new AbortController()
  const generation = engine.generate({ ...ENDLESS, model }, { signal: controller.signal })
  const chunks = generation[Symbol.asyncIterator]()
  controller.abort(reason)
  expect(await failure(generation)).toBe(reason)
  expect(await failure(chunks.next())).toBe(reason)
  const late = engine.generate({ model, prompt: 'Hello' }, { signal: controller.signal })
  expect(await failure(late)).toBe(reason)
})

test('an aborted loop throws the reason at once, and only once', async () => {
  // The stream is at most 8 tokens ahead, which are one chunk. So the second read is pending when the signal aborts.
  const { engine, model } = await simulated(M3_MAX, { streaming: { bufferTokens: 8 } })
  const controller = new AbortController()
  const generation = engine.generate({ ...ENDLESS, model }, { signal: controller.signal })
  const chunks = generation[Symbol.asyncIterator]()
  await chunks.next()
  const pending = chunks.next()
  controller.abort(REASON)
  expect(await failure(pending)).toBe(REASON)
  expect(await chunks.next()).toEqual({ done: true, value: undefined })
})

test('a loop aborted with onAbort stop ends, and the result has the text that was read', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const controller = new AbortController()
  const options = { signal: controller.signal, onAbort: 'stop' as const }
  const generation = engine.generate({ ...ENDLESS, model }, options)
  let text = ''
  for await (const chunk of generation) {
    text += chunk.text
    if (text.length > 10) controller.abort()
  }
  const result = await generation
  expect(result.finishReason).toBe('cancelled')
  expect(result.text).toBe(text)
})

test('an abort after the end has no effect', async () => {
  const { engine, model } = await simulated()
  const controller = new AbortController()
  const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 2 }, { signal: controller.signal })
  const result = await generation
  controller.abort(REASON)
  expect(await generation).toBe(result)
})

test('ten thousand generations on one signal add one listener and remove it at the end', async () => {
  const { engine, model } = await simulated(undefined, { scheduler: { maxPending: 10_000 } })
  const warnings: Error[] = []
  const warn = (warning: Error) => warnings.push(warning)
  process.on('warning', warn)
  const { signal } = new AbortController()
  const start = () => engine.generate({ model, prompt: 'Hello', maxTokens: 1 }, { signal })
  const generations = Array.from({ length: 10_000 }, start)
  expect(getEventListeners(signal, 'abort').length).toBe(1)
  const results = await Promise.all(generations)
  process.off('warning', warn)
  expect(results.every(result => result.tokens.length === 1)).toBe(true)
  expect(getEventListeners(signal, 'abort')).toEqual([])
  expect(warnings).toEqual([])
})
