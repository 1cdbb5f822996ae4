// The events of an engine: each one is emitted with its fields. Neither a listener that throws nor a missing listener
// harms the engine.

import { AsyncLocalStorage } from 'node:async_hooks'
import {
  createEngine,
  type Engine,
  type EngineEvents,
  type GenerationCompletedEvent,
  InvalidParamsError,
} from 'mlx-serving'
import { describe, expect, onTestFinished, test } from 'vitest'
import { failure, INSTANT, inNode, M3_MAX, read, sharing, simulated, until } from './support.js'

const NAMES: (keyof EngineEvents)[] = [
  'model:loaded',
  'model:unloaded',
  'generation:started',
  'generation:completed',
  'runtime:status',
  'error',
]

/** All events that an engine emits from now on. */
function recorded(engine: Engine): [string, EngineEvents[keyof EngineEvents]][] {
  const events: [string, EngineEvents[keyof EngineEvents]][] = []
  for (const name of NAMES) engine.on(name, event => events.push([name, event]))
  return events
}

/** The events of all generations that have ended. */
function completions(engine: Engine): GenerationCompletedEvent[] {
  const ended: GenerationCompletedEvent[] = []
  engine.on('generation:completed', event => ended.push(event))
  return ended
}

test('an engine emits an event for each status, load, generation and unload', async () => {
  const engine = await createEngine({ backend: { simulated: INSTANT } })
  const events = recorded(engine)
  await until(() => events.length === 1)
  const model = await engine.loadModel()
  const params = { model, prompt: 'Once', maxTokens: 3 }
  const result = await engine.generate(params)
  await engine.unloadModel(model)
  const again = await engine.loadModel()
  await engine.shutdown()
  expect(events).toEqual([
    ['runtime:status', { status: 'ready' }],
    ['model:loaded', { model, durationMs: expect.any(Number) }],
    ['generation:started', { id: result.id, model: model.id, params: { prompt: 'Once', maxTokens: 3 } }],
    ['generation:completed', { id: result.id, model: model.id, durationMs: expect.any(Number), result }],
    ['model:unloaded', { model, reason: 'unload' }],
    ['model:loaded', { model: again, durationMs: expect.any(Number) }],
    ['runtime:status', { status: 'draining' }],
    ['model:unloaded', { model: again, reason: 'shutdown' }],
    ['runtime:status', { status: 'stopped' }],
  ])
})

describe('a generation is reported once', () => {
  test('whether it is awaited, iterated, both, or read item by item', async () => {
    const { engine, model } = await simulated()
    const ended = completions(engine)
    const params = { model, prompt: 'Once', maxTokens: 4 }
    const awaited = await engine.generate(params)
    await read(engine.generate(params))
    const both = engine.generate(params)
    await Promise.all([read(both), both])
    for await (const _ of engine.createGenerator(params));
    expect(ended.map(({ result }) => result?.text)).toEqual(new Array(4).fill(awaited.text))
    expect(new Set(ended.map(({ id }) => id)).size).toBe(4)
  })

  test('with all its answers', async () => {
    const { engine, model } = await simulated()
    const ended = completions(engine)
    const result = await engine.generate({ model, prompt: 'Once', maxTokens: 4, n: 3, temperature: 1 })
    expect(ended).toHaveLength(1)
    expect(ended[0].result).toEqual(result)
    expect(ended[0].result?.choices).toHaveLength(3)
  })

  test('with the error of one of its answers', async () => {
    const faults = [{ step: 1, kind: 'logits' as const }]
    const { engine, model } = await simulated(INSTANT, {
      retry: { enabled: false },
      backend: { simulated: INSTANT, faults },
    })
    const ended = completions(engine)
    const error = await failure(
      engine.generate({ model, prompt: 'Once', maxTokens: 4, n: 3, temperature: 1, ignoreEos: true }),
    )
    await until(() => ended.length > 0)
    expect(ended).toEqual([expect.objectContaining({ error })])
    expect(ended[0]).not.toHaveProperty('result')
  })

  test('also if it shares the answer of another one', async () => {
    // The second request arrives during the first step, which takes more than 1 s.
    const faults = [{ step: 0, kind: 'stall' as const, ms: 1_000 }]
    const { engine, model } = await sharing(M3_MAX, { backend: { simulated: M3_MAX, faults } })
    const ended = completions(engine)
    const params = { model, prompt: 'Once', maxTokens: 4 }
    await Promise.all([engine.generate(params), engine.generate(params)])
    await engine.generate(params)
    expect(ended.map(({ result }) => result?.served)).toEqual(['computed', 'coalesced', 'cached'])
  })

  test('if it is cancelled, left or aborted, or misses its deadline', async () => {
    const { engine, model } = await simulated(M3_MAX)
    const ended = completions(engine)
    const params = { model, prompt: 'Once', maxTokens: 500, ignoreEos: true }
    const cancelled = engine.generate(params)
    await until(() => engine.stats().generatedTokens > 1)
    cancelled.cancel()
    await cancelled
    for await (const _ of engine.generate(params)) break
    const reason = new Error('enough')
    await failure(engine.generate(params, { signal: AbortSignal.timeout(1) }))
    const abort = new AbortController()
    const aborted = engine.generate(params, { signal: abort.signal })
    abort.abort(reason)
    await failure(aborted)
    await failure(engine.generate(params, { timeoutMs: 1 }))
    expect(
      ended.map(({ result, error }) => result?.finishReason ?? (error as { code?: string }).code ?? error),
    ).toEqual(['cancelled', 'Cancelled', expect.anything(), reason, 'Timeout'])
  })

  test('if the engine refuses it', async () => {
    const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: 1 } })
    const ended = completions(engine)
    const started: string[] = []
    engine.on('generation:started', ({ id }) => started.push(id))
    const first = engine.generate({ model, prompt: 'Once', maxTokens: 50, ignoreEos: true })
    const refused = await failure(engine.generate({ model, prompt: 'Once', maxTokens: 2 }, { id: 'second' }))
    const wrong = await failure(engine.generate({ model, prompt: 'Once', maxTokens: -1 }))
    await first
    expect(ended.map(({ error }) => error)).toEqual([refused, wrong, undefined])
    expect(ended.map(({ id }) => id).sort()).toEqual([...started].sort())
    expect(started[1]).toBe('second')
  })
})

test('a failure of the device is an error event, and a mistake of the caller is none', async () => {
  const { engine, model } = await simulated(INSTANT, {
    backend: { simulated: INSTANT, faults: [{ step: 0, kind: 'collect' }] },
    retry: { enabled: false },
  })
  const errors: unknown[] = []
  engine.on('error', error => errors.push(error))
  const failed = await failure(engine.generate({ model, prompt: 'Once' }))
  await failure(engine.generate({ model, prompt: 'Once', temperature: -1 }))
  await failure(engine.loadModel('/nowhere'))
  expect(failed.code).toBe('BackendError')
  expect(errors).toEqual([failed])
})

test('an error event without a listener does not throw', async () => {
  const { engine, model } = await simulated(INSTANT, {
    backend: { simulated: INSTANT, faults: [{ step: 0, kind: 'submit' }] },
    retry: { enabled: false },
  })
  const ended = completions(engine)
  await failure(engine.generate({ model, prompt: 'Once' }))
  expect(ended).toHaveLength(1)
  expect((await engine.generate({ model, prompt: 'Once', maxTokens: 2 })).text).not.toBe('')
})

test('an error of a listener is an uncaught exception, and harms neither other listeners nor the answer', async () => {
  const script = `
    import { createEngine } from 'mlx-serving'
    const uncaught = []
    process.on('uncaughtException', error => uncaught.push(error.message))
    const engine = await createEngine({ backend: { simulated: 'instant' } })
    const model = await engine.loadModel()
    const heard = []
    for (const name of ['generation:started', 'generation:completed']) {
      engine.on(name, () => { throw new Error(name) })
      engine.on(name, () => heard.push(name))
    }
    const { text } = await engine.generate({ model, prompt: 'Once', maxTokens: 3 })
    await engine.shutdown()
    console.log(JSON.stringify({ uncaught, heard, isAnswered: text !== '' }))`
  const { stdout, stderr, code } = await inNode(script)
  expect(code, stderr).toBe(0)
  const names = ['generation:started', 'generation:completed']
  expect(JSON.parse(stdout)).toEqual({ uncaught: names, heard: names, isAnswered: true })
})

test('listeners of a generation run in the async context of its caller', async () => {
  const { engine, model } = await simulated()
  const storage = new AsyncLocalStorage<string>()
  const contexts: (string | undefined)[] = []
  engine.on('generation:started', () => contexts.push(storage.getStore()))
  engine.on('generation:completed', () => contexts.push(storage.getStore()))
  const ask = (name: string) => storage.run(name, () => engine.generate({ model, prompt: name, maxTokens: 2 }))
  await ask('first')
  await ask('second')
  expect(contexts).toEqual(['first', 'first', 'second', 'second'])
})

test('a listener can be removed, or listen once', async () => {
  const { engine, model } = await simulated()
  const heard: string[] = []
  const removed = () => heard.push('removed')
  expect(engine.on('generation:completed', removed).off('generation:completed', removed)).toBe(engine)
  engine.once('generation:completed', () => heard.push('once'))
  engine.on('generation:completed', () => heard.push('always'))
  for (let n = 0; n < 2; n++) await engine.generate({ model, prompt: 'Once', maxTokens: 2 })
  expect(heard).toEqual(['once', 'always', 'always'])
})

test('a listener can call the engine', async () => {
  const { engine, model } = await simulated()
  const texts: string[] = []
  engine.once('generation:completed', async () => {
    texts.push((await engine.generate({ model, prompt: 'Twice', maxTokens: 3 })).text)
    await engine.dispose()
    texts.push('end')
  })
  await engine.generate({ model, prompt: 'Once', maxTokens: 3 })
  await until(() => texts.at(-1) === 'end')
  expect(texts).toHaveLength(2)
})

test('a listener cannot change the request', async () => {
  const { engine, model } = await simulated()
  const params = { model, prompt: 'Once', maxTokens: 3 }
  const before = await engine.generate(params)
  const tried: unknown[] = []
  engine.on('generation:started', ({ params }) => {
    tried.push(Reflect.set(params, 'maxTokens', 1))
  })
  expect((await engine.generate(params)).tokens).toEqual(before.tokens)
  expect(tried).toEqual([false])
})

test.each([
  ['modelLoaded', () => {}, 'event'],
  ['toString', () => {}, 'event'],
  [7, () => {}, 'event'],
  ['error', undefined, 'listener'],
  ['error', 'listener', 'listener'],
])('on(%o, %o) is refused', async (name, listener, param) => {
  const engine = await createEngine({ backend: { simulated: INSTANT } })
  onTestFinished(() => engine.dispose())
  for (const method of ['on', 'once', 'off'] as const) {
    const call = () => engine[method](name as 'error', listener as () => void)
    expect(call).toThrow(InvalidParamsError)
    expect(call).toThrow(expect.objectContaining({ param }))
  }
})

test('the error about an unknown event names all events', async () => {
  const { engine } = await simulated()
  expect(() => engine.on('' as 'error', () => {})).toThrow(NAMES.join(', '))
})
