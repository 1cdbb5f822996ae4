// AbortSignal at every stage of a generation, and the removal of listeners from signals.

import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { failure, longAnswer, M3_MAX, type Ready, read, simulated, until } from './support.js'

const REASON = new Error('the caller went away')
/** Keeps generations referenced: one without references ends when it is garbage-collected. */
const held: unknown[] = []

interface Stage {
  /** The condition for starting the generation. */
  before?(ready: Ready): Promise<void>
  isReached(ready: Ready): boolean
}

/** The stages of a generation, on an engine that runs one request at a time. */
const stages: Record<string, Stage> = {
  queued: {
    async before({ engine, model }) {
      held.push(engine.generate({ ...(await longAnswer(100)), model }))
      await until(() => engine.stats().running === 1)
    },
    isReached: ({ engine }) => engine.stats().queued === 1,
  },
  'in prefill': { isReached: ({ engine }) => engine.stats().running === 1 },
  'in decode': { isReached: ({ engine }) => engine.stats().generatedTokens > 0 },
}

describe.each(Object.entries(stages))('aborted %s', (_, stage) => {
  const start = async (onAbort: 'throw' | 'stop') => {
    const ready = await simulated(M3_MAX, { scheduler: { enabled: false } })
    const params = { ...(await longAnswer(100)), model: ready.model }
    const controller = new AbortController()
    await stage.before?.(ready)
    const generation = ready.engine.generate(params, { signal: controller.signal, onAbort })
    await until(() => stage.isReached(ready))
    return { ...ready, controller, generation: () => generation }
  }

  test('it rejects with the reason of the signal and ends the work', async () => {
    const { engine, model, controller, generation } = await start('throw')
    controller.abort(REASON)
    expect(await failure(generation())).toBe(REASON)
    const after = await engine.generate({ model, prompt: 'Hello', maxTokens: 2 })
    expect(after.usage.outputTokens).toBeGreaterThan(0)
    expect(engine.stats().cancelled).toBe(1)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  test('with onAbort stop it keeps the tokens so far', async () => {
    const { controller, generation } = await start('stop')
    controller.abort(REASON)
    expect(await generation()).toMatchObject({ finishReason: 'cancelled' })
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
  expect(await engine.generate({ ...(await longAnswer(100)), model }, options)).toMatchObject({
    finishReason: 'cancelled',
  })
})

test('an abort without a reason rejects with an AbortError', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const controller = new AbortController()
  const generation = engine.generate({ ...(await longAnswer(100)), model }, { signal: controller.signal })
  controller.abort()
  expect((await failure(generation)).name).toBe('AbortError')
})

test.each([null, 0, '', 'gone'])('an abort with the reason %j rejects with it', async reason => {
  const { engine, model } = await simulated(M3_MAX)
  const controller = new AbortController()
  const generation = engine.generate({ ...(await longAnswer(100)), model }, { signal: controller.signal })
  const chunks = generation[Symbol.asyncIterator]()
  controller.abort(reason)
  expect(await failure(generation)).toBe(reason)
  expect(await failure(chunks.next())).toBe(reason)
  const late = engine.generate({ model, prompt: 'Hello' }, { signal: controller.signal })
  expect(await failure(late)).toBe(reason)
})

test('an aborted loop throws the reason at once, and only once', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const controller = new AbortController()
  const generation = engine.generate({ ...(await longAnswer(100)), model }, { signal: controller.signal })
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
  const generation = engine.generate({ ...(await longAnswer(100)), model }, options)
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
