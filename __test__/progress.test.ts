// onProgress: how far the prompt has been read, before the answer. How often is tested in Rust, with a clock that stands still.

import { AsyncLocalStorage } from 'node:async_hooks'
import type { GenerateOptions, PromptProgress } from 'mlx-serving'
import { InvalidParamsError } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, M3_MAX, ON_MLX, type OnMlx, type Ready, sharing, simulated, until } from './support.js'

const LENGTH = 900
const LONG = { prompt: { tokens: new Array(LENGTH).fill(60) }, maxTokens: 8 }
/** A prompt is read in parts, and a part takes a while. */
const CHUNKED = { scheduler: { prefillChunkTokens: 256 } }

function begin({ engine, model }: Ready, options: GenerateOptions = {}, params = {}) {
  const told: PromptProgress[] = []
  const onProgress = (progress: PromptProgress) => void told.push(progress)
  const generation = engine.generate({ model, ...LONG, ...params }, { onProgress, ...options })
  return { told, generation }
}

const read = (processedTokens: number, cachedTokens = 0) => ({ processedTokens, totalTokens: LENGTH, cachedTokens })

test.each<OnMlx>([...ON_MLX, ['a simulated device', options => simulated(M3_MAX, options)]])(
  'it is told while the prompt is read and once it is, before the first piece, with %s',
  async (_, open) => {
    const { told, generation } = begin(await open(CHUNKED))
    let beforeAnswer: PromptProgress[] | undefined
    for await (const _ of generation) beforeAnswer ??= [...told]
    await generation
    expect(beforeAnswer?.at(-1)).toEqual(read(LENGTH))
    expect(told).toEqual(beforeAnswer)
    const processed = told.map(({ processedTokens }) => processedTokens)
    expect(processed).toEqual([...processed].sort((a, b) => a - b))
    expect(told.every(({ totalTokens, cachedTokens }) => totalTokens === LENGTH && cachedTokens === 0)).toBe(true)
  },
)

test('each part of a prompt that is read slowly is told, also to one that only awaits', async () => {
  const { told, generation } = begin(await simulated(M3_MAX, CHUNKED))
  await generation
  // A part takes 170 ms: longer than the time between two reports.
  expect(told).toEqual([256, 512, 768, LENGTH].map(processed => read(processed)))
})

test('one that joins hears of the rest, and one whose prompt was there hears that', async () => {
  const ready = await sharing(M3_MAX, CHUNKED)
  const first = begin(ready)
  await until(() => first.told.length === 2)
  const second = begin(ready)
  const quiet = ready.engine.generate({ model: ready.model, ...LONG })
  expect((await second.generation).served).toBe('coalesced')
  expect((await quiet).served).toBe('coalesced')
  expect(first.told.slice(-second.told.length)).toEqual(second.told)
  expect(second.told.length).toBeLessThan(first.told.length)
  expect(second.told.at(-1)).toEqual(read(LENGTH))
  const third = begin(ready)
  expect((await third.generation).served).toBe('cached')
  expect(third.told).toEqual([read(LENGTH, LENGTH)])
})

test('it changes nothing about what is shared', async () => {
  const ready = await sharing()
  await ready.engine.generate({ model: ready.model, ...LONG })
  expect((await begin(ready).generation).served).toBe('cached')
})

test('several answers tell of the prompt they have in common', async () => {
  const ready = await simulated(M3_MAX, CHUNKED)
  const { told, generation } = begin(ready, {}, { n: 3, temperature: 1, seed: 1 })
  await generation
  expect(told.filter(({ processedTokens }) => processedTokens === LENGTH)).toEqual([read(LENGTH)])
})

test('nothing is told after an end', async () => {
  const ready = await simulated(M3_MAX, CHUNKED)
  const { told, generation } = begin(ready)
  await until(() => told.length > 0)
  await generation[Symbol.asyncDispose]()
  const before = told.length
  await failure(generation)
  await begin(ready).generation
  expect(told.length).toBe(before)
})

test('what it throws is the end of its own generation, and of no other', async () => {
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
  expect(other.told.at(-1)).toEqual(read(LENGTH))
  await until(() => ready.engine.stats().running === 0)
  expect(ready.engine.stats()).toMatchObject({ recoveries: 0, failed: 0 })
})

test('it may cancel the generation it tells of', async () => {
  const abort = new AbortController()
  const onProgress = () => abort.abort(new Error('enough'))
  const { generation } = begin(await simulated(M3_MAX, CHUNKED), { onProgress, signal: abort.signal })
  expect((await failure(generation)).message).toBe('enough')
})

test('it is told in the async context of its own call, not in that of the engine or of another', async () => {
  const storage = new AsyncLocalStorage<string>()
  const ready = await storage.run('engine', () => simulated(M3_MAX, CHUNKED))
  const seen: Record<string, Set<unknown>> = { first: new Set(), second: new Set() }
  const run = (name: string) =>
    storage.run(name, () => begin(ready, { onProgress: () => void seen[name].add(storage.getStore()) }).generation)
  await Promise.all([run('first'), run('second')])
  expect(seen).toEqual({ first: new Set(['first']), second: new Set(['second']) })
})

test.each([true, 'x', 1, {}])('%j instead of a function is refused by name', async onProgress => {
  const { generation } = begin(await simulated(), { onProgress: onProgress as never })
  const error = await failure(generation)
  expect(error).toBeInstanceOf(InvalidParamsError)
  expect(error).toMatchObject({ code: 'InvalidParams', param: 'options.onProgress' })
})
