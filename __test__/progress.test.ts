// onProgress: how far the prompt has been read. Its rate is tested in Rust with a manual clock.

import { AsyncLocalStorage } from 'node:async_hooks'
import type { GenerateOptions, PromptProgress } from 'mlx-serving'
import { InvalidParamsError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, INSTANT, M3_MAX, ON_MLX, type OnMlx, type Ready, sharing, simulated, until } from './support.js'

const LENGTH = 900
const LONG = { prompt: { tokens: new Array(LENGTH).fill(60) }, maxTokens: 8 }
/** A prompt is read in chunks, and each chunk takes some time. */
const CHUNKED = { scheduler: { prefillChunkTokens: 256 } }

function begin({ engine, model }: Ready, options: GenerateOptions = {}, params = {}) {
  const reports: PromptProgress[] = []
  const onProgress = (progress: PromptProgress) => void reports.push(progress)
  const generation = engine.generate({ model, ...LONG, ...params }, { onProgress, ...options })
  return { reports, generation }
}

const read = (processedTokens: number, cachedTokens = 0) => ({ processedTokens, totalTokens: LENGTH, cachedTokens })

test.each<OnMlx>([...ON_MLX, ['a simulated device', options => simulated(M3_MAX, options)]])(
  'onProgress is called while the prompt is read, and at its end before the first chunk, with %s',
  async (name, open) => {
    // A CPU reads about 50 tokens per second with quantized weights.
    const length = name.includes('4-bit') ? 300 : LENGTH
    const prompt = { tokens: new Array(length).fill(60) }
    const { reports, generation } = begin(await open(CHUNKED), {}, { prompt })
    let beforeAnswer: PromptProgress[] | undefined
    for await (const _ of generation) beforeAnswer ??= [...reports]
    await generation
    expect(beforeAnswer?.at(-1)).toEqual({ processedTokens: length, totalTokens: length, cachedTokens: 0 })
    expect(reports).toEqual(beforeAnswer)
    const processed = reports.map(({ processedTokens }) => processedTokens)
    expect(processed).toEqual([...processed].sort((a, b) => a - b))
    expect(reports.every(({ totalTokens, cachedTokens }) => totalTokens === length && cachedTokens === 0)).toBe(true)
  },
)

test('each chunk of a slow prompt is reported, even if the generation is only awaited', async () => {
  // A chunk takes 500 ms, longer than the time between two reports. JavaScript has time to take each report.
  const faults = [0, 1, 2].map(step => ({ step, kind: 'stall' as const, ms: 500 }))
  const options = { backend: { simulated: INSTANT, faults }, scheduler: { prefillChunkTokens: 300 } }
  const { reports, generation } = begin(await simulated(INSTANT, options))
  await generation
  expect(reports).toEqual([300, 600, LENGTH].map(processed => read(processed)))
})

test('a request that joins gets the remaining reports, and a cached one gets one report', async () => {
  // The third of four chunks takes so long that the other requests join during it.
  const faults = [{ step: 2, kind: 'stall' as const, ms: 1_000 }]
  const ready = await sharing(M3_MAX, { ...CHUNKED, backend: { simulated: M3_MAX, faults } })
  const first = begin(ready)
  await until(() => first.reports.at(-1)?.processedTokens === 512)
  const second = begin(ready)
  const quiet = ready.engine.generate({ model: ready.model, ...LONG })
  expect((await second.generation).served).toBe('coalesced')
  expect((await quiet).served).toBe('coalesced')
  expect(first.reports.slice(-second.reports.length)).toEqual(second.reports)
  expect(second.reports.length).toBeLessThan(first.reports.length)
  expect(second.reports.at(-1)).toEqual(read(LENGTH))
  const third = begin(ready)
  expect((await third.generation).served).toBe('cached')
  expect(third.reports).toEqual([read(LENGTH, LENGTH)])
})

test('onProgress does not affect the sharing of answers', async () => {
  const ready = await sharing()
  await ready.engine.generate({ model: ready.model, ...LONG })
  expect((await begin(ready).generation).served).toBe('cached')
})

test('several answers report their common prompt once', async () => {
  const ready = await simulated(M3_MAX, CHUNKED)
  const { reports, generation } = begin(ready, {}, { n: 3, temperature: 1, seed: 1 })
  await generation
  expect(reports.filter(({ processedTokens }) => processedTokens === LENGTH)).toEqual([read(LENGTH)])
})

test('onProgress is not called after the end', async () => {
  const ready = await simulated(M3_MAX, CHUNKED)
  const { reports, generation } = begin(ready, {}, { maxTokens: 1_000, ignoreEos: true })
  await until(() => reports.length > 0)
  await generation[Symbol.asyncDispose]()
  const before = reports.length
  await failure(generation)
  await begin(ready).generation
  expect(reports.length).toBe(before)
})

test('an error that onProgress throws ends only its own generation', async () => {
  const ready = await simulated(M3_MAX, CHUNKED)
  const thrown = new Error('thrown by the caller')
  let calls = 0
  const onProgress = () => {
    calls++
    throw thrown
  }
  const { generation } = begin(ready, { onProgress })
  const choices = begin(ready, { onProgress }, { n: 2, temperature: 1, seed: 1 }).generation
  const other = begin(ready, {}, { temperature: 1, seed: 2 })
  expect(await failure(generation)).toBe(thrown)
  expect(await failure(choices)).toBe(thrown)
  expect(calls).toBe(2)
  expect((await other.generation).tokens.length).toBeGreaterThan(0)
  expect(other.reports.at(-1)).toEqual(read(LENGTH))
  await until(() => ready.engine.stats().running === 0)
  expect(ready.engine.stats()).toMatchObject({ recoveries: 0, failed: 0 })
})

test('onProgress can abort its own generation', async () => {
  const abort = new AbortController()
  const onProgress = () => abort.abort(new Error('enough'))
  const { generation } = begin(await simulated(M3_MAX, CHUNKED), { onProgress, signal: abort.signal })
  expect((await failure(generation)).message).toBe('enough')
})

test('onProgress runs in the async context of its own call', async () => {
  const storage = new AsyncLocalStorage<string>()
  const ready = await storage.run('engine', () => simulated(M3_MAX, CHUNKED))
  const seen: Record<string, Set<unknown>> = { first: new Set(), second: new Set() }
  const run = (name: string) =>
    storage.run(name, () => begin(ready, { onProgress: () => void seen[name].add(storage.getStore()) }).generation)
  await Promise.all([run('first'), run('second')])
  expect(seen).toEqual({ first: new Set(['first']), second: new Set(['second']) })
})

test.each([true, 'x', 1, {}])('the error about onProgress: %j names the option', async onProgress => {
  const { generation } = begin(await simulated(), { onProgress: onProgress as never })
  const error = await failure(generation)
  expect(error).toBeInstanceOf(InvalidParamsError)
  expect(error).toMatchObject({ code: 'InvalidParams', param: 'options.onProgress' })
})
