// `cachePrompt`: a prompt that is read ahead stays in the prefix cache until it is released.

import {
  BackendError,
  CancelledError,
  ConfigError,
  type Engine,
  type EngineOptions,
  type GenerateParams,
  InvalidParamsError,
  TimeoutError,
} from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { Scrape } from './prometheus.js'
import { HERMES } from './scripted.js'
import {
  failure,
  INSTANT,
  inNode,
  M3_MAX,
  ON_MLX,
  type Ready,
  SHARING_PREFIXES,
  simulated,
  until,
  withTemplate,
} from './support.js'

const tokens = (count: number, first = 0) =>
  Array.from({ length: count }, (_, at) => 10 + ((first * 13 + at * 7) % 250))
const begun = (count: number, own: number) => ({ tokens: [...tokens(count), ...tokens(5, own)] })
const open = (options: EngineOptions = {}) => simulated(INSTANT, { ...SHARING_PREFIXES, ...options })
const prefixOf = (engine: Engine) => engine.stats().cache.prefix
const pin = ({ engine, model }: Ready, count: number, first = 0, options = {}) =>
  engine.cachePrompt({ model, prompt: { tokens: tokens(count, first) } }, options)

const ask = async ({ engine, model }: Ready, prompt: GenerateParams['prompt'], params: object = {}, options = {}) =>
  engine.generate(
    { temperature: 0, maxTokens: 4, ignoreEos: true, prompt, ...params, model } as GenerateParams,
    options,
  )
const cached = async (...args: Parameters<typeof ask>) => (await ask(...args)).usage.cachedInputTokens

/** An engine with memory for 16 prompts of 200 tokens, four of which may be pinned. */
async function small(options: EngineOptions = {}): Promise<Ready> {
  const ready = await simulated(M3_MAX, { ...SHARING_PREFIXES, ...options })
  const { bytes } = await pin(ready, 200)
  await ready.engine.dispose()
  return simulated(M3_MAX, { ...SHARING_PREFIXES, memory: { kvBytes: bytes * 16 }, ...options })
}

describe.each(ON_MLX)('with %s', (_, openMlx) => {
  test('any number of longer prompts start with a pinned one', async () => {
    const ready = await openMlx(SHARING_PREFIXES)
    const pinned = await pin(ready, 90)
    expect(pinned).toMatchObject({ tokens: 90, bytes: expect.any(Number) })
    expect(pinned.bytes).toBeGreaterThan(0)
    expect(prefixOf(ready.engine).pinned).toEqual({ prompts: 1, tokens: 90, bytes: pinned.bytes })
    const together = await Promise.all([1, 2, 3].map(own => cached(ready, begun(90, own))))
    expect(together).toEqual([90, 90, 90])
    expect(await cached(ready, begun(90, 9), { maxTokens: 1 })).toBe(90)
    // The next turn of the pinned prompt itself.
    expect(await cached(ready, { tokens: [...tokens(90), 11] })).toBe(90)
    expect(prefixOf(ready.engine).pinned.tokens).toBe(90)
    pinned.release()
    await until(() => prefixOf(ready.engine).pinned.prompts === 0)
    expect(await cached(ready, begun(90, 7))).toBe(90)
  })
})

test('answers are those of an engine without the prefix cache', async () => {
  const [, openMlx] = ON_MLX[0]
  const off = { cache: { ...SHARING_PREFIXES.cache, prefixCache: { enabled: false } } }
  const [shared, alone] = await Promise.all([openMlx(SHARING_PREFIXES), openMlx(off)])
  await pin(shared, 120)
  for (const own of [1, 2, 3]) {
    const [found, expected] = await Promise.all(
      [shared, alone].map(ready => ask(ready, begun(120, own), { maxTokens: 20, logprobs: 3 })),
    )
    expect(found.usage.cachedInputTokens).toBe(120)
    expect([found.tokens, found.logprobs]).toEqual([expected.tokens, expected.logprobs])
  }
})

test('a system prompt with tools is the beginning of each chat', async () => {
  const template = HERMES.replace('<|assistant|>', '{{ "<|assistant|>" if add_generation_prompt }}')
  const ready = await withTemplate(template, SHARING_PREFIXES)
  const { engine, model } = ready
  const system = { role: 'system', content: 'You are a careful assistant that answers in one sentence. '.repeat(5) }
  const tools = [
    { type: 'function' as const, function: { name: 'now', description: 'The time.', parameters: { type: 'object' } } },
  ]
  const pinned = await engine.cachePrompt({ model, messages: [system], tools })
  for (const content of ['What is 12 + 7?', 'Name a colour.']) {
    const { usage } = await engine.generate({
      model,
      messages: [system, { role: 'user', content }],
      tools,
      maxTokens: 2,
    })
    // The second chat also has the start of the user's message in common with the first one.
    expect(usage.cachedInputTokens).toBeGreaterThanOrEqual(pinned.tokens)
  }
  const rendered = await engine.applyChatTemplate({ model, messages: [system], tools })
  const { length } = await engine.tokenize({ model, text: rendered })
  expect(pinned.tokens).toBeLessThan(length)
})

test('other requests never evict a pinned prompt', async () => {
  const ready = await small()
  await pin(ready, 200)
  for (let own = 1; own <= 30; own++) await ask(ready, { tokens: tokens(200, own) }, { maxTokens: 1 })
  expect(prefixOf(ready.engine).evictions).toBeGreaterThan(0)
  expect(await cached(ready, begun(200, 77))).toBe(200)
})

test('a pinned prompt stays when rows preempt each other', async () => {
  const ready = await small({ scheduler: { batchSize: 16, autoTune: { enabled: false } } })
  await pin(ready, 200)
  const many = Array.from({ length: 20 }, (_, own) => ask(ready, { tokens: tokens(250, own + 1) }, { maxTokens: 60 }))
  await Promise.all(many)
  expect(ready.engine.stats().models[0].preemptions).toBeGreaterThan(0)
  expect(await cached(ready, begun(200, 99))).toBe(200)
})

test('a prompt that does not fit is an error that names sizes, and requests have the rest of the memory', async () => {
  const ready = await small()
  const first = await pin(ready, 200)
  for (const own of [1, 2, 3]) await pin(ready, 200, own)
  const error = await failure(pin(ready, 200, 4))
  expect(error).toBeInstanceOf(BackendError)
  expect(error).toMatchObject({ code: 'InsufficientMemory', limit: first.bytes * 4, requested: first.bytes * 5 })
  expect(error.message).toContain(`${first.bytes} bytes`)
  expect(prefixOf(ready.engine).pinned).toEqual({ prompts: 4, tokens: 800, bytes: 4 * first.bytes })
  expect(new Scrape(ready.engine.metrics()).sum('mlx_prefix_pinned_bytes')).toBe(4 * first.bytes)
  const large = await failure(ask(ready, { tokens: tokens(200, 9) }, { maxTokens: 3_000 }))
  expect(large).toMatchObject({ code: 'InsufficientMemory', limit: 12 * first.bytes })
  first.release()
  await pin(ready, 200, 4)
  ready.engine.cache.configure({ prefixCache: { maxPinnedPercent: 0 } })
  expect(await failure(pin(ready, 200, 5))).toMatchObject({ code: 'InsufficientMemory', limit: 0 })
})

test('equal prompts share their memory until both are released', async () => {
  const ready = await open()
  const [one, other] = [await pin(ready, 100), await pin(ready, 100)]
  const count = () => prefixOf(ready.engine).pinned
  expect(count()).toMatchObject({ prompts: 2, tokens: 100 })
  one.release()
  one.release()
  await until(() => count().prompts === 1)
  expect(count().tokens).toBe(100)
  other[Symbol.dispose]()
  await until(() => count().prompts === 0)
  expect(count().tokens).toBe(0)
})

test('only requests with the same salt use a pinned prompt', async () => {
  const ready = await open()
  const prompt = { tokens: tokens(100) }
  await ready.engine.cachePrompt({ model: ready.model, prompt, cacheSalt: 'a' })
  await ready.engine.cachePrompt({ model: ready.model, prompt: { tokens: tokens(90) } }, { tenant: 'b' })
  expect(await cached(ready, begun(100, 1), { cacheSalt: 'c' })).toBe(0)
  expect(await cached(ready, begun(100, 1), { cacheSalt: 'a' })).toBe(100)
  expect(await cached(ready, begun(90, 2), {}, { tenant: 'b' })).toBe(90)
})

test('cache.clear() and turning the prefix cache off release pinned prompts', async () => {
  const ready = await open()
  const { engine } = ready
  const pinned = await pin(ready, 100)
  engine.cache.clear()
  await until(() => prefixOf(engine).pinned.prompts === 0)
  expect(prefixOf(engine)).toMatchObject({ entries: 0, bytes: 0 })
  pinned.release()
  expect(await cached(ready, begun(100, 1))).toBe(0)
  await pin(ready, 100)
  engine.cache.configure({ prefixCache: { minTokens: 50 } })
  expect(await cached(ready, begun(100, 3))).toBe(100)
  engine.cache.configure({ prefixCache: { enabled: false } })
  expect(await failure(pin(ready, 100))).toBeInstanceOf(ConfigError)
  await until(() => prefixOf(engine).pinned.prompts === 0)
})

test('cache.clear() while a prompt is read rejects its promise, and the prompt is not pinned', async () => {
  const ready = await simulated(M3_MAX, SHARING_PREFIXES)
  const pinning = failure(pin(ready, 3_000))
  await until(() => ready.engine.stats().running === 1)
  ready.engine.cache.clear()
  expect(await pinning).toBeInstanceOf(CancelledError)
  expect(prefixOf(ready.engine).pinned.prompts).toBe(0)
})

test('an abort, a deadline and an onProgress that throws end it, and nothing is pinned', async () => {
  const ready = await simulated(M3_MAX, SHARING_PREFIXES)
  const reason = new Error('not needed')
  expect(await failure(pin(ready, 2_000, 0, { signal: AbortSignal.abort(reason) }))).toBe(reason)
  const controller = new AbortController()
  const aborted = failure(pin(ready, 4_000, 1, { signal: controller.signal }))
  await until(() => ready.engine.stats().running === 1)
  controller.abort(reason)
  expect(await aborted).toBe(reason)
  expect(await failure(pin(ready, 2_000, 2, { timeoutMs: 1 }))).toBeInstanceOf(TimeoutError)
  const onProgress = () => {
    throw reason
  }
  expect(await failure(pin(ready, 2_000, 3, { onProgress }))).toBe(reason)
  await until(() => ready.engine.stats().running === 0)
  expect(prefixOf(ready.engine).pinned.prompts).toBe(0)
  const seen: number[] = []
  const progress = ({ processedTokens }: { processedTokens: number }) => seen.push(processedTokens)
  await pin(ready, 2_000, 4, { onProgress: progress })
  expect(seen.at(-1)).toBe(2_000)
})

test('pinned prompts are read again after the device has failed', async () => {
  const faults = [{ step: 3, kind: 'collect' as const }]
  const ready = await open({ backend: { simulated: INSTANT, faults } } as EngineOptions)
  await pin(ready, 100)
  for (let own = 1; prefixOf(ready.engine).pinned.prompts === 1 && own < 20; own++) {
    await ask(ready, { tokens: tokens(20, own) }).catch(() => {})
    if (ready.engine.stats().recoveries > 0) break
  }
  expect(ready.engine.stats().recoveries).toBe(1)
  await until(() => prefixOf(ready.engine).pinned.prompts === 1)
  expect(await cached(ready, begun(100, 1))).toBe(100)
})

test('unloading a model releases its pinned prompts, and a reload does not restore them', async () => {
  const ready = await open()
  const { engine, model } = ready
  const pinned = await pin(ready, 100)
  await engine.unloadModel(model)
  expect(prefixOf(engine).pinned).toEqual({ prompts: 0, tokens: 0, bytes: 0 })
  pinned.release()
  const again = { engine, model: await engine.loadModel() }
  expect(await cached(again, begun(100, 1))).toBe(0)
  await pin(again, 100)
  await engine.registerModel({ id: 'later', path: model.path, chatTemplate: '{{ messages }}' })
  const later = await engine.cachePrompt({ model: 'later', prompt: { tokens: tokens(100) } })
  expect(later.tokens).toBe(100)
  expect(await cached({ engine, model: engine.getModelInfo('later') as Ready['model'] }, begun(100, 2))).toBe(100)
  await engine.dispose()
  later.release()
  expect(await failure(pin(again, 100))).toMatchObject({ code: 'EngineClosed' })
})

test('closing the engine rejects the promise of a prompt that is being read', async () => {
  const ready = await simulated(M3_MAX, SHARING_PREFIXES)
  const pinning = failure(pin(ready, 4_000))
  await until(() => ready.engine.stats().running === 1)
  await ready.engine.dispose()
  expect(await pinning).toMatchObject({ code: 'EngineClosed' })
})

test('pinning a prompt uses no scripted answer', async () => {
  const ready = await open({
    backend: { simulated: INSTANT, answers: [{ text: 'first' }, { text: 'second' }] },
  } as EngineOptions)
  await pin(ready, 100)
  const { text } = await ready.engine.generate({ model: ready.model, prompt: 'Hello' })
  expect(text).toContain('first')
})

test('a prompt stays pinned when its handle is garbage-collected', async () => {
  const script = `
    import { createEngine } from 'mlx-serving'
    const engine = await createEngine({ backend: { simulated: 'instant' } })
    const model = await engine.loadModel()
    const prompt = { tokens: Array.from({ length: 100 }, (_, at) => 10 + at) }
    const handle = new WeakRef(await engine.cachePrompt({ model, prompt }))
    for (let n = 0; n < 5; n++) { await new Promise(resolve => setTimeout(resolve, 10)); gc() }
    console.log(handle.deref() === undefined, engine.stats().cache.prefix.pinned.prompts)
    await engine.dispose()`
  expect((await inNode(script, 'module', ['--expose-gc'])).stdout).toBe('true 1\n')
})

test('wrong params and options are refused with their names', async () => {
  const { engine, model } = await open()
  const prompt = { tokens: tokens(100) }
  const thrown = new Error('thrown by the caller')
  const hostile = Object.defineProperty({}, 'role', {
    enumerable: true,
    get: () => {
      throw thrown
    },
  })
  const bad: [string, unknown, unknown?][] = [
    ['params', 'text'],
    ['model', { prompt }],
    ['prompt', { model }],
    ['prompt', { model, prompt: { tokens: tokens(63) } }],
    ['prompt', { model, prompt: '' }],
    ['params', { model, messages: [hostile] }],
    ['temperature', { model, prompt, temperature: 0 }],
    ['maxTokens', { model, prompt, maxTokens: 4 }],
    ['cache', { model, prompt, cache: 'off' }],
    ['cacheSalt', { model, prompt, cacheSalt: '' }],
    ['options.priority', { model, prompt }, { priority: 'high' }],
    ['options.onAbort', { model, prompt }, { onAbort: 'stop' }],
    ['options.signal', { model, prompt }, { signal: 7 }],
  ]
  for (const [index, [param, params, options]] of bad.entries()) {
    const error = await failure(engine.cachePrompt(params as never, options as never))
    expect(error, `case ${index}`).toBeInstanceOf(InvalidParamsError)
    expect(error.param, `case ${index}`).toBe(param)
  }
  expect(await failure(engine.cachePrompt({ model, prompt: { tokens: tokens(63) } }))).toMatchObject({ limit: 64 })
  expect(prefixOf(engine).pinned.prompts).toBe(0)
})
