// Several engine threads: how requests are spread, and what callers see when a thread ends or hangs.

import type { Engine, EngineOptions, Generation, ModelHandle, PromptProgress, SimulatedFault } from 'mlx-serving'
import { expect, test } from 'vitest'
import { copiesOfDemo } from './folders.js'
import { Scrape } from './prometheus.js'
import { failure, INSTANT, inNode, longAnswer, M3_MAX, ON_MLX, read, sharing, simulated, until } from './support.js'

const PROMPTS = Array.from({ length: 12 }, (_, number) => `What is ${number} + 20?`)
const params = (prompt: string) => ({ prompt, maxTokens: 12 })

const ask = (engine: Engine, model: ModelHandle) =>
  Promise.all(PROMPTS.map(async prompt => (await engine.generate({ model, ...params(prompt) })).text))

const restarts = (engine: Engine) => engine.stats().workers.reduce((sum, { restarts }) => sum + restarts, 0)

/** An engine whose device has these faults. */
const failing = (faults: SimulatedFault[], count = 1, profile = INSTANT, options: EngineOptions = {}) =>
  simulated(profile, { backend: { simulated: profile, faults }, workers: { count }, ...options })

test.each(ON_MLX)('%s: three workers give the answers of one, with one copy of the weights', async (_, open) => {
  const [alone, three] = [await open(), await open({ workers: { count: 3 } })]
  const [expected, answers] = [await ask(alone.engine, alone.model), await ask(three.engine, three.model)]
  expect(answers).toEqual(expected)
  const { workers, models, memory } = three.engine.stats()
  expect(workers.every(({ requests }) => requests > 0)).toBe(true)
  expect([models.length, memory.weightBytes]).toEqual([1, alone.engine.stats().memory.weightBytes])
})

test('round-robin routing gives each worker as many requests, and metrics have a series for each worker', async () => {
  const { engine, model } = await simulated(M3_MAX, { workers: { count: 4, routing: 'round-robin' } })
  await Promise.all(PROMPTS.map(prompt => engine.generate({ model, prompt, maxTokens: 3 })))
  expect(engine.stats().workers).toEqual(
    Array.from({ length: 4 }, () => ({ running: true, pending: 0, requests: 3, restarts: 0 })),
  )
  const metrics = new Scrape(engine.metrics())
  expect([metrics.sum('mlx_worker_active'), metrics.sum('mlx_worker_requests_total')]).toEqual([4, 12])
  expect(engine.config()['workers.count']).toMatchObject({ value: 4, source: 'option' })
})

test('identical requests are computed once, and answers are cached for all workers', async () => {
  const { engine, model } = await sharing(M3_MAX, { workers: { count: 4 } })
  const same = { model, ...params('Hello') }
  const answers = await Promise.all(Array.from({ length: 8 }, () => engine.generate(same)))
  expect(answers.filter(({ served }) => served === 'computed')).toHaveLength(1)
  expect((await engine.generate(same)).served).toBe('cached')
})

test('the next turn of a chat goes to the worker that has its history', async () => {
  const { engine, model } = await sharing(INSTANT, { workers: { count: 4 } })
  // One request at a time: beside others, a turn may also go to a worker that is less busy.
  for (const prompt of PROMPTS) {
    const messages = [{ role: 'user' as const, content: `${prompt} ${'Tell me more about it. '.repeat(40)}` }]
    const { text } = await engine.generate({ model, messages, maxTokens: 20 })
    const next = [
      ...messages,
      { role: 'assistant' as const, content: text },
      { role: 'user' as const, content: 'Go on.' },
    ]
    const { usage } = await engine.generate({ model, messages: next, maxTokens: 5 })
    expect(usage.cachedInputTokens).toBeGreaterThan(100)
  }
})

test.each([1, 3])('of %i workers, a thread that ends is replaced, and no request is lost', async count => {
  const healthy = await simulated()
  const { engine, model } = await failing([{ step: 3, kind: 'thread' }], count)
  expect(await ask(engine, model)).toEqual(await ask(healthy.engine, healthy.model))
  expect(restarts(engine)).toBe(1)
  expect(engine.stats()).toMatchObject({ completed: 12, failed: 0, preparing: 0, queued: 0, running: 0 })
  expect(new Scrape(engine.metrics()).sum('mlx_worker_restarts_total')).toBe(1)
  expect(engine.health().status).toBe('ready')
})

test('when a thread ends, a stream with delivered text fails, and another request begins again', async () => {
  // A stream is at most four tokens ahead of its reader, so its first chunk is delivered before the ninth step.
  const streaming = { bufferTokens: 4 }
  const { engine, model } = await failing([{ step: 8, kind: 'thread' }], 1, M3_MAX, { streaming })
  const long = { ...(await longAnswer(40)), model }
  const streamed: string[] = []
  const others: Generation[] = []
  const begun = (async () => {
    for await (const { text } of engine.generate(long)) {
      streamed.push(text)
      if (others.length === 0) others.push(engine.generate({ ...long, prompt: 'Wait.' }))
    }
  })()
  expect((await failure(begun)).code).toBe('BackendError')
  expect(streamed.length).toBeGreaterThan(0)
  expect((await others[0]).tokens.length).toBeGreaterThan(0)
  expect(engine.stats()).toMatchObject({ completed: 1, failed: 1 })
})

test('requests end while a step hangs, on its worker and on others', async () => {
  // The step hangs for longer than the time limit of the test.
  const stall = { step: 30, kind: 'stall', ms: 40_000 } as const
  const { engine, model } = await failing([stall], 2, INSTANT, { health: { stuckAfterMs: 400 } })
  for (let round = 0; round < 6; round++) await ask(engine, model)
  expect(restarts(engine)).toBeGreaterThan(0)
  expect(engine.stats()).toMatchObject({ completed: 72, failed: 0 })
})

test('progress of a prompt never decreases, also when it is read again', async () => {
  const faults = [{ step: 1, kind: 'thread' }] as const
  const { engine, model } = await simulated(M3_MAX, { backend: { simulated: M3_MAX, faults: [...faults] } })
  const reports: number[] = []
  const options = { onProgress: (report: PromptProgress) => void reports.push(report.processedTokens) }
  const prompt = 'Tell me all that you know about it. '.repeat(100)
  const { usage } = await engine.generate({ model, prompt, maxTokens: 3 }, options)
  expect(restarts(engine)).toBe(1)
  expect(reports).toEqual([...reports].sort((a, b) => a - b))
  expect(reports.at(-1)).toBe(usage.inputTokens)
})

test('a model is loaded and another one is unloaded on all workers, also while a thread is replaced', async () => {
  const { engine, model } = await failing([{ step: 5, kind: 'thread' }], 3)
  const running = ask(engine, model)
  const { second: folder } = await copiesOfDemo('second')
  const second = await engine.loadModel(folder)
  await running
  await engine.unloadModel(model)
  expect(await ask(engine, second)).toHaveLength(12)
  expect(engine.stats()).toMatchObject({ models: [{ model: second.id }], failed: 0 })
})

test('aborts, an early return and a shutdown reach the worker of a request', async () => {
  const { engine, model } = await simulated(M3_MAX, { workers: { count: 4 } })
  const long = { model, prompt: 'Tell me everything.', ignoreEos: true, maxTokens: 2000 }
  const controller = new AbortController()
  const aborted = engine.generate(long, { signal: controller.signal })
  const cancelled = engine.generate({ ...long, prompt: 'Tell me more.' })
  for await (const _ of engine.generate({ ...long, prompt: 'Leave.' })) break
  await until(() => engine.stats().running >= 2)
  controller.abort()
  cancelled.cancel()
  expect((await failure(aborted)).name).toBe('AbortError')
  expect((await cancelled).finishReason).toBe('cancelled')
  await until(() => engine.stats().workers.every(({ pending }) => pending === 0))
  const last = engine.generate(long)
  await engine.dispose()
  expect((await failure(last)).code).toBe('EngineClosed')
  expect(engine.stats().workers.every(({ running }) => !running)).toBe(true)
})

test('a process with workers ends while they generate, and while one hangs', async () => {
  const script = (faults: string) => `
    import { createEngine } from 'mlx-serving'
    const engine = await createEngine({
      backend: { simulated: '${M3_MAX}', faults: ${faults} }, workers: { count: 3 }, health: { stuckAfterMs: 100 },
    })
    const model = await engine.loadModel()
    const asked = seed => engine.generate({ model, prompt: 'Go', temperature: 1, seed, maxTokens: 400 }).catch(() => {})
    for (let seed = 0; seed < 12; seed++) asked(seed)
    while (engine.stats().steps < 6) await new Promise(resolve => setTimeout(resolve, 5))
    await new Promise(resolve => setTimeout(resolve, 300))
    console.log('leaving')
    process.exit(3)`
  for (const faults of ['[]', "[{ step: 4, kind: 'stall', ms: 3000 }]", "[{ step: 4, kind: 'thread' }]"]) {
    expect(await inNode(script(faults))).toEqual({ code: 3, signal: null, stdout: 'leaving\n', stderr: '' })
  }
})

test('streams that are parked and resumed give whole answers, on an engine with many workers', async () => {
  const { engine, model } = await simulated(M3_MAX, { workers: { count: 8 }, streaming: { bufferTokens: 4 } })
  const long = { ...(await longAnswer(40)), model }
  const answers = await Promise.all([1, 2, 3].map(() => read(engine.generate(long))))
  expect(answers.every(({ tokens }) => tokens.length === answers[0]?.tokens.length)).toBe(true)
})
