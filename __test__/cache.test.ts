// Identical requests share answers: what is computed, what each request reports, and how sharing is disabled. On a
// simulated device.

import {
  ConfigError,
  type Engine,
  type EngineOptions,
  type GenerateParams,
  type GenerateResult,
  type ModelHandle,
} from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { failure, longAnswer, M3_MAX, read, sharing, until } from './support.js'

/** An answer that takes about 1 s: the test acts while it is generated. */
const LONG = { prompt: 'Tell me everything.', maxTokens: 150, ignoreEos: true }

/** An engine whose first step takes more than 1 s. Identical requests that arrive during this step join the first. */
const stalling = (options: EngineOptions = {}) =>
  sharing(M3_MAX, { backend: { simulated: M3_MAX, faults: [{ step: 0, kind: 'stall', ms: 1_000 }] }, ...options })

const ask = (engine: Engine, model: ModelHandle, params: Partial<GenerateParams> = {}) =>
  engine.generate({ model, prompt: 'Once', maxTokens: 12, ...params } as GenerateParams)

const servedOf = (results: GenerateResult[]) => results.map(({ served }) => served)

describe('identical requests at the same time', () => {
  test('are computed once, and each gets the whole answer', async () => {
    const { engine, model } = await stalling()
    const results = await Promise.all(Array.from({ length: 50 }, () => ask(engine, model)))
    const [first, ...others] = results
    expect(first.served).toBe('computed')
    expect(first).not.toHaveProperty('sharedFrom')
    for (const other of others) {
      expect(other).toMatchObject({ served: 'coalesced', sharedFrom: first.id, text: first.text })
      expect([...other.tokens]).toEqual([...first.tokens])
    }
    expect(engine.stats()).toMatchObject({ requests: 50, completed: 50, generatedTokens: first.tokens.length })
    expect(engine.stats().cache).toMatchObject({ coalescing: { hits: 49, misses: 1 }, sharedRatio: 49 / 50 })
  })

  test('report only the work that was done for them', async () => {
    const { engine, model } = await sharing(M3_MAX)
    const [first, second] = await Promise.all([ask(engine, model), ask(engine, model)])
    const { inputTokens, outputTokens } = first.usage
    expect(first.usage).toMatchObject({ cachedInputTokens: 0, cachedOutputTokens: 0 })
    expect(second.usage).toEqual({
      inputTokens,
      outputTokens,
      cachedInputTokens: inputTokens,
      cachedOutputTokens: outputTokens,
      reasoningTokens: 0,
      totalTokens: inputTokens + outputTokens,
    })
    expect(first.timings.tokensPerSecond).toBeGreaterThan(0)
    expect(second.timings.tokensPerSecond).toBe(0)
  })

  test('stream from the beginning', async () => {
    const { engine, model } = await sharing(M3_MAX)
    const first = ask(engine, model, LONG)
    const reading = first[Symbol.asyncIterator]()
    await reading.next()
    const late = ask(engine, model, LONG)
    const [streamed, whole] = await Promise.all([read(late), late])
    expect(whole.served).toBe('coalesced')
    expect(streamed).toMatchObject({ text: whole.text, tokens: [...whole.tokens] })
    expect(streamed.chunks).toBeGreaterThan(1)
    await reading.return?.()
  })

  test('get the whole answer, even if the first one is aborted', async () => {
    const { engine, model } = await sharing(M3_MAX)
    const abort = new AbortController()
    const first = engine.generate({ model, ...LONG }, { signal: abort.signal })
    const others = [ask(engine, model, LONG), ask(engine, model, LONG)]
    await until(() => engine.stats().cache.coalescing.hits === 2)
    abort.abort(new Error('enough'))
    expect((await failure(first)).message).toBe('enough')
    const [one, other] = await Promise.all(others)
    expect(one.finishReason).not.toBe('cancelled')
    expect(other.text).toBe(one.text)
    expect(engine.stats().cancelled).toBe(1)
  })

  test('end the generation when the last of them has left', async () => {
    const { engine, model } = await sharing(M3_MAX)
    const params = { ...LONG, maxTokens: 1_000 }
    const both = [ask(engine, model, params), ask(engine, model, params)]
    await until(() => engine.stats().cache.coalescing.hits === 1 && engine.stats().running === 1)
    for (const one of both) await one[Symbol.asyncDispose]()
    await until(() => engine.stats().running === 0)
    expect(engine.stats()).toMatchObject({ cancelled: 2, completed: 0 })
  })

  test('have their own deadlines', async () => {
    const { engine, model } = await sharing(M3_MAX)
    // About 1.6 s of work: the request with the short deadline still runs when the other one joins.
    const params = { ...LONG, model, maxTokens: 250 }
    const hasty = engine.generate(params, { timeoutMs: 1000 })
    const patient = engine.generate(params)
    await until(() => engine.stats().cache.coalescing.hits === 1)
    expect(await failure(hasty)).toMatchObject({ code: 'Timeout' })
    expect(await patient).toMatchObject({ served: 'coalesced', sharedFrom: expect.any(String) })
  })

  test('get separate result objects', async () => {
    const { engine, model } = await sharing()
    const [first, second] = await Promise.all([ask(engine, model), ask(engine, model)])
    const before = [...second.tokens]
    first.tokens.fill(0)
    expect([...second.tokens]).toEqual(before)
    expect([...(await ask(engine, model)).tokens]).toEqual(before)
    expect(second.usage).not.toBe(first.usage)
  })
})

describe('a repeated request', () => {
  test('gets the cached answer, and can stream it', async () => {
    const { engine, model } = await sharing(undefined, { cache: { dedup: { ttlMs: 60_000 } } })
    const params = await longAnswer(40)
    const first = await ask(engine, model, params)
    const again = ask(engine, model, params)
    const [streamed, whole] = await Promise.all([read(again), again])
    expect(whole).toMatchObject({ served: 'cached', sharedFrom: first.id, text: first.text, seed: first.seed })
    expect(whole.finishReason).toBe(first.finishReason)
    expect(streamed).toMatchObject({ text: first.text, tokens: [...first.tokens] })
    expect(streamed.chunks).toBeGreaterThan(1)
    expect(engine.stats().cache).toMatchObject({ dedup: { hits: 1 }, entries: 1, tokens: first.tokens.length })
  })

  test('gets it item by item from createGenerator', async () => {
    const { engine, model } = await sharing()
    const first = await ask(engine, model)
    const tokens: number[] = []
    for await (const item of engine.createGenerator({ model, prompt: 'Once', maxTokens: 12 })) {
      if (item.type === 'token') tokens.push(item.tokenId)
      else expect(item.result).toMatchObject({ served: 'cached', sharedFrom: first.id })
    }
    expect(tokens).toEqual([...first.tokens])
  })

  test('gets it from the prompt cache after the ttlMs of dedup', async () => {
    const { engine, model } = await sharing(undefined, { cache: { dedup: { ttlMs: 1 } } })
    await ask(engine, model)
    await new Promise(resolve => setTimeout(resolve, 5))
    expect((await ask(engine, model)).served).toBe('cached')
    expect(engine.stats().cache).toMatchObject({ dedup: { hits: 0 }, promptCache: { hits: 1 } })
  })

  test('is computed if the first one was cancelled, or if a param differs', async () => {
    const { engine, model } = await sharing(M3_MAX)
    const cut = ask(engine, model, LONG)
    await until(() => engine.stats().running === 1)
    cut.cancel()
    expect((await cut).finishReason).toBe('cancelled')
    expect((await ask(engine, model, LONG)).served).toBe('computed')
    await ask(engine, model)
    const others = [{ prompt: 'Twice' }, { maxTokens: 11 }, { stopSequences: ['x'] }, { temperature: 1, seed: 1 }]
    for (const params of others) expect((await ask(engine, model, params)).served).toBe('computed')
  })

  test('gets it even if its params are written differently', async () => {
    const { engine, model } = await sharing()
    const tokens = await engine.tokenize({ model, text: 'Once' })
    await ask(engine, model)
    const same = [{ prompt: { tokens } }, { temperature: -0 }, { topP: 1 }, { topP: 0.5 }, { seed: 5 }]
    for (const params of [...same, { stopSequences: [] }, { cache: 'auto' as const }, { cacheSalt: undefined }]) {
      expect(servedOf([await ask(engine, model, params as Partial<GenerateParams>)])).toEqual(['cached'])
    }
  })
})

describe('an answer that is not reproducible', () => {
  const sampled = { temperature: 1 }

  test('is not shared', async () => {
    const { engine, model } = await sharing(M3_MAX)
    const results = await Promise.all([ask(engine, model, sampled), ask(engine, model, sampled)])
    expect(servedOf(results)).toEqual(['computed', 'computed'])
    expect(results[0].seed).not.toBe(results[1].seed)
  })

  test('is shared if the seed was given', async () => {
    const { engine, model } = await sharing()
    const seeded = { ...sampled, seed: 7 }
    expect(servedOf([await ask(engine, model, seeded), await ask(engine, model, seeded)])).toEqual([
      'computed',
      'cached',
    ])
  })

  test('is shared if that is forced, and the result has its seed', async () => {
    const { engine, model } = await stalling()
    const forced = { ...sampled, cache: 'force' as const }
    const [first, second] = await Promise.all([ask(engine, model, forced), ask(engine, model, forced)])
    expect(second).toMatchObject({ served: 'coalesced', seed: first.seed, text: first.text })
  })
})

describe('sharing can be disabled', () => {
  test('for one request', async () => {
    const { engine, model } = await sharing()
    await ask(engine, model)
    expect((await ask(engine, model, { cache: 'off' })).served).toBe('computed')
    expect((await ask(engine, model)).served).toBe('cached')
  })

  test.each([
    ['coalescing', ['computed', 'computed', 'cached']],
    ['dedup', ['computed', 'coalesced', 'cached']],
    ['promptCache', ['computed', 'coalesced', 'cached']],
  ] as const)('for %s alone, at the start and later', async (layer, expected) => {
    const off = { [layer]: { enabled: false } }
    const check = async (options: EngineOptions) => {
      const { engine, model } = await stalling(options)
      if (options.cache === undefined) engine.cache.configure(off)
      const together = await Promise.all([ask(engine, model), ask(engine, model)])
      const served = servedOf([...together, await ask(engine, model)])
      expect(served).toEqual(expected)
      const counts = engine.stats().cache[layer]
      expect(counts).toEqual({ hits: 0, misses: 0 })
      expect(engine.config()[`cache.${layer}.enabled`]).toMatchObject({ value: false, source: 'option' })
    }
    await Promise.all([check({ cache: off }), check({})])
  })

  test('for all requests', async () => {
    const { engine, model } = await sharing()
    const enabled = { enabled: false }
    engine.cache.configure({ coalescing: enabled, dedup: enabled, promptCache: enabled })
    expect(servedOf([await ask(engine, model), await ask(engine, model)])).toEqual(['computed', 'computed'])
  })

  test('by clearing, for cached answers and running generations', async () => {
    const { engine, model } = await sharing(M3_MAX)
    await ask(engine, model)
    engine.cache.clear()
    expect(engine.stats().cache.entries).toBe(0)
    const running = ask(engine, model, LONG)
    await until(() => engine.stats().running === 1)
    engine.cache.clear()
    expect((await ask(engine, model, LONG)).served).toBe('computed')
    expect((await running).served).toBe('computed')
  })
})

test('readers beyond maxSubscribers get another generation', async () => {
  const { engine, model } = await stalling({ cache: { coalescing: { maxSubscribers: 2 } } })
  const results = await Promise.all(Array.from({ length: 4 }, () => ask(engine, model)))
  expect(servedOf(results)).toEqual(['computed', 'coalesced', 'computed', 'coalesced'])
})

test('a smaller budget applies at once while the engine runs', async () => {
  const { engine, model } = await sharing()
  for (let i = 0; i < 8; i++) await ask(engine, model, { prompt: `Question ${i}` })
  expect(engine.stats().cache.entries).toBe(8)
  engine.cache.configure({ promptCache: { maxEntries: 3 } })
  expect(engine.stats().cache.entries).toBe(3)
})

test('requests of a tenant share only with each other', async () => {
  const { engine, model } = await sharing()
  const of = (cacheSalt?: string, tenant?: string) =>
    engine.generate({ model, prompt: 'Once', maxTokens: 12, cacheSalt } as GenerateParams, tenant ? { tenant } : {})
  const first = [await of(), await of('a'), await of('b'), await of(undefined, 'c')]
  expect(servedOf(first)).toEqual(['computed', 'computed', 'computed', 'computed'])
  const again = [await of(), await of('a'), await of('b'), await of(undefined, 'c'), await of('a', 'c')]
  expect(servedOf(again)).toEqual(['cached', 'cached', 'cached', 'cached', 'cached'])
  expect(again.map(({ sharedFrom }) => sharedFrom)).toEqual([...first, first[1]].map(({ id }) => id))
})

test('a request has the given id, or a unique one', async () => {
  const { engine, model } = await sharing()
  const first = await engine.generate({ model, prompt: 'Once', maxTokens: 4 }, { id: 'mine' })
  const [second, third] = [await ask(engine, model, { maxTokens: 4 }), await ask(engine, model, { maxTokens: 4 })]
  expect(first.id).toBe('mine')
  expect(second).toMatchObject({ served: 'cached', sharedFrom: 'mine' })
  expect(new Set([first.id, second.id, third.id]).size).toBe(3)
})

test('cached answers stay when a model that may be loaded again is unloaded', async () => {
  const { engine, model } = await sharing()
  const first = await ask(engine, model)
  await engine.unloadModel(model, { forget: false })
  expect(engine.stats().cache.entries).toBe(1)
  expect(await ask(engine, model)).toMatchObject({ served: 'cached', tokens: first.tokens })
  await engine.unloadModel(model)
  expect(engine.stats().cache.entries).toBe(0)
})

test('unloading a model removes its answers', async () => {
  const { engine, model } = await sharing()
  await ask(engine, model)
  await engine.unloadModel(model)
  expect(engine.stats().cache.entries).toBe(0)
  expect((await ask(engine, await engine.loadModel())).served).toBe('computed')
})

test.each([
  [{ cache: 'never' }, {}, 'cache'],
  [{ cache: true }, {}, 'cache'],
  [{ cacheSalt: '' }, {}, 'cacheSalt'],
  [{ cacheSalt: 'x'.repeat(257) }, {}, 'cacheSalt'],
  [{ cacheSalt: '\ud800' }, {}, 'cacheSalt'],
  [{ cacheSalt: 7 }, {}, 'cacheSalt'],
  [{}, { id: '' }, 'options.id'],
  [{}, { tenant: '\udc00' }, 'options.tenant'],
])('%j with options %j is refused', async (params, options, param) => {
  const { engine, model } = await sharing()
  const error = await failure(engine.generate({ model, prompt: 'Once', ...params } as GenerateParams, options))
  expect(error).toMatchObject({ code: 'InvalidParams', param })
})

test('wrong cache options are refused and change nothing', async () => {
  const { engine } = await sharing()
  const before = engine.config()
  const wrong = [
    { dedup: { ttlMs: 0 } },
    { promptCache: { enabled: false, maxEntries: 0 } },
    { dedupe: {} },
    { coalescing: 1 },
  ]
  for (const options of wrong) {
    const error = await Promise.resolve()
      .then(() => engine.cache.configure(options as never))
      .catch(error => error)
    expect(error, JSON.stringify(options)).toBeInstanceOf(ConfigError)
  }
  expect(engine.config()).toEqual(before)
  await engine.dispose()
  expect(() => engine.cache.clear()).toThrow('shut down')
  expect(() => engine.cache.configure({})).toThrow('shut down')
})
