// `n`: several answers to one prompt, which is computed once. Each equals the answer of a single request with its seed.

import { CancelledError, type GenerateParams, InvalidParamsError, OverloadedError } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { failure, INSTANT, M3_MAX, ON_MLX, type Ready, sharing, simulated, until, withMlx } from './support.js'

const SAMPLED = { prompt: 'Tell me about the sea.', temperature: 2, ignoreEos: true, seed: 5, maxTokens: 30 }
/** Answers that take more than 6 s: they run until they are cancelled. */
const LONG = { ...SAMPLED, maxTokens: 1_000 }
/** The largest seed; the next one is 0. */
const LAST_SEED = Number.MAX_SAFE_INTEGER

describe('awaited', () => {
  test('every choice equals the answer of a single request with its seed', async () => {
    const { engine, model } = await withMlx()
    const result = await engine.generate({ model, ...SAMPLED, seed: LAST_SEED - 1, n: 4 })
    const choices = result.choices ?? []
    expect(choices.map(choice => choice.seed)).toEqual([LAST_SEED - 1, LAST_SEED, 0, 1])
    for (const { seed, text, tokens } of choices) {
      const alone = await engine.generate({ model, ...SAMPLED, seed })
      expect({ text, tokens }).toEqual({ text: alone.text, tokens: alone.tokens })
    }
    expect(new Set(choices.map(choice => choice.text)).size).toBe(4)
    const { choices: _, ...first } = result
    expect(first).toEqual(choices[0])
  })

  test.each(ON_MLX)('the prompt is computed once, as stats and usage show, with %s', async (_, open) => {
    const { engine, model } = await open()
    const before = engine.stats().promptTokens
    const { choices = [] } = await engine.generate({ model, ...SAMPLED, n: 8 })
    const { inputTokens } = choices[0].usage
    // Each of the other choices computes the last position itself.
    expect(engine.stats().promptTokens - before).toBe(inputTokens + 7)
    expect(choices.map(({ usage }) => usage.inputTokens)).toEqual(new Array(8).fill(inputTokens))
    expect(choices.map(({ usage }) => usage.cachedInputTokens)).toEqual([0, ...new Array(7).fill(inputTokens - 1)])
  })

  test('more choices than the batch limit are all answered', async () => {
    const { engine, model } = await simulated(INSTANT, { scheduler: { batchSize: 2, autoTune: { enabled: false } } })
    const { choices = [] } = await engine.generate({ model, ...SAMPLED, n: 9 })
    expect(choices.map(choice => choice.seed)).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 13])
    expect(choices.every(choice => choice.tokens.length > 0)).toBe(true)
  })

  test('choices have their own ids and, without a seed, different random seeds', async () => {
    const { engine, model } = await withMlx()
    const { seed: _, ...unseeded } = SAMPLED
    // Two answers of 30 tokens are equal in one of 200 pairs; two of 60 tokens in none of many thousands.
    const params: GenerateParams = { ...unseeded, model, n: 3, maxTokens: 60 }
    const { choices = [] } = await engine.generate(params, { id: 'sea' })
    expect(choices.map(choice => choice.id)).toEqual(['sea', 'sea#1', 'sea#2'])
    expect(new Set(choices.map(choice => choice.text)).size).toBe(3)
    expect((await engine.generate({ ...params, n: 1, seed: choices[2].seed })).text).toBe(choices[2].text)
  })

  test('a result with one choice has no `choices`', async () => {
    const { engine, model } = await simulated()
    expect(await engine.generate({ model, ...SAMPLED, n: 1 })).not.toHaveProperty('choices')
  })
})

describe('shared answers', () => {
  test('greedy choices share one computed answer', async () => {
    const { engine, model } = await sharing()
    const { choices = [] } = await engine.generate({ model, prompt: 'Hello', temperature: 0, n: 5 })
    expect(choices.map(choice => choice.served === 'computed').filter(Boolean).length).toBe(1)
    expect(new Set(choices.map(choice => choice.text)).size).toBe(1)
  })

  test('with forced sharing and no seed, choices differ and are cached separately', async () => {
    const { engine, model } = await sharing()
    const params: GenerateParams = { model, prompt: 'Hello', temperature: 1, n: 4, cache: 'force' }
    const first = await engine.generate(params)
    const again = await engine.generate(params)
    expect(new Set(first.choices?.map(choice => choice.seed)).size).toBe(4)
    expect(again.choices?.map(choice => choice.served)).toEqual(new Array(4).fill('cached'))
    expect(again.choices?.map(choice => choice.text)).toEqual(first.choices?.map(choice => choice.text))
  })
})

describe('read', () => {
  test.each(ON_MLX)('chunks have the index of their choice, and add up to the results, with %s', async (_, open) => {
    const { engine, model } = await open()
    const generation = engine.generate({ model, ...SAMPLED, n: 3 })
    const texts = ['', '', '']
    const order: number[] = []
    for await (const { index, text } of generation) {
      texts[index] += text
      order.push(index)
    }
    const { choices = [] } = await generation
    expect(texts).toEqual(choices.map(choice => choice.text))
    // The chunks of the answers are interleaved.
    expect(order.indexOf(2)).toBeLessThan(order.lastIndexOf(0))
  })

  test('concurrent reads are answered in order, and after the end there are no chunks', async () => {
    const { engine, model } = await withMlx()
    const chunks = engine.generate({ model, ...SAMPLED, n: 2, maxTokens: 3 })[Symbol.asyncIterator]()
    const steps = await Promise.all(Array.from({ length: 12 }, () => chunks.next()))
    const isDone = steps.map(step => step.done === true)
    expect(isDone).toEqual([...isDone].sort())
    const tokens = steps.flatMap(step => (step.done ? [] : [...step.value.tokens]))
    expect(tokens.length).toBe(6)
    expect(await chunks.next()).toEqual({ done: true, value: undefined })
  })

  test('leaving the loop ends all answers', async () => {
    const { engine, model } = await simulated(M3_MAX)
    const generation = engine.generate({ model, ...LONG, n: 3 })
    for await (const _ of generation) break
    expect(await failure(generation)).toBeInstanceOf(CancelledError)
    await until(() => engine.stats().running === 0 && engine.stats().queued === 0)
  })

  test('an abort is thrown once', async () => {
    const { engine, model } = await simulated(M3_MAX)
    const controller = new AbortController()
    const generation = engine.generate({ model, ...LONG, n: 3 }, { signal: controller.signal })
    const chunks = generation[Symbol.asyncIterator]()
    await chunks.next()
    const waiting = [chunks.next(), chunks.next(), chunks.next(), chunks.next(), chunks.next()]
    controller.abort(new Error('enough'))
    const outcomes = await Promise.allSettled(waiting)
    const failed = outcomes.filter(outcome => outcome.status === 'rejected')
    expect(failed.map(outcome => outcome.reason.message)).toEqual(['enough'])
    expect((await chunks.next()).done).toBe(true)
    await until(() => engine.stats().running === 0)
  })

  /** Reads the first chunk of three answers, and waits until the other two have chunks. */
  async function begun({ engine, model }: Ready, signal?: AbortSignal) {
    const generation = engine.generate({ model, ...LONG, n: 3 }, signal && { signal })
    const chunks = generation[Symbol.asyncIterator]()
    expect(await chunks.next()).toMatchObject({ value: { index: 0 } })
    await until(() => engine.stats().generatedTokens > 12)
    return { chunks, dispose: () => generation[Symbol.asyncDispose](), failed: () => failure(generation) }
  }

  test('an abort drops unread chunks', async () => {
    const controller = new AbortController()
    const { chunks } = await begun(await simulated(M3_MAX), controller.signal)
    controller.abort(new Error('enough'))
    expect((await failure(chunks.next())).message).toBe('enough')
    expect(await chunks.next()).toEqual({ done: true, value: undefined })
  })

  test('disposing drops unread chunks', async () => {
    const { chunks, dispose } = await begun(await simulated(M3_MAX))
    await dispose()
    expect(await failure(chunks.next())).toBeInstanceOf(CancelledError)
    expect(await chunks.next()).toEqual({ done: true, value: undefined })
  })

  test('after return the iterator yields no chunk and throws no error', async () => {
    const controller = new AbortController()
    // The third choice waits for a row: its first read is pending when it ends.
    const narrow = { scheduler: { batchSize: 2, autoTune: { enabled: false } } }
    const { chunks } = await begun(await simulated(M3_MAX, narrow), controller.signal)
    controller.abort(new Error('enough'))
    await new Promise(setImmediate)
    await chunks.return?.()
    expect(await chunks.next()).toEqual({ done: true, value: undefined })
  })

  test('chunks before an engine error can be read, even if the generation is awaited', async () => {
    const faulty = { backend: { simulated: M3_MAX, faults: [{ step: 10, kind: 'submit' as const }] } }
    const { chunks, dispose, failed } = await begun(await simulated(M3_MAX, faulty))
    expect(await failed()).toMatchObject({ code: 'BackendError' })
    await dispose()
    expect(await chunks.next()).toMatchObject({ value: { index: 1 } })
    expect(await chunks.next()).toMatchObject({ value: { index: 2 } })
    const rest = (async () => {
      while (!(await chunks.next()).done);
    })()
    expect(await failure(rest)).toMatchObject({ code: 'BackendError' })
  })
})

describe('ends', () => {
  test('cancel keeps the tokens of every choice', async () => {
    const { engine, model } = await simulated(M3_MAX)
    const generation = engine.generate({ model, ...LONG, n: 3 })
    await until(() => engine.stats().generatedTokens > 6)
    generation.cancel()
    const { choices = [] } = await generation
    expect(choices.map(choice => choice.finishReason)).toEqual(['cancelled', 'cancelled', 'cancelled'])
  })

  test('an error ends all choices', async () => {
    const { engine, model } = await simulated(M3_MAX)
    const generation = engine.generate({ model, ...LONG, n: 3 }, { timeoutMs: 150 })
    expect(await failure(generation)).toMatchObject({ code: 'Timeout' })
    await until(() => engine.stats().running === 0)
  })

  test('a prompt that the tokenizer refuses fails once for all choices', async () => {
    const { engine, model } = await simulated()
    const error = await failure(engine.generate({ model, prompt: '', n: 3 }))
    expect(error).toMatchObject({ code: 'InvalidParams', param: 'prompt' })
    expect(engine.stats().running).toBe(0)
  })

  test('either all choices are accepted or none', async () => {
    const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: 4 } })
    const params = { model, ...LONG }
    const three = engine.generate({ ...params, n: 3 })
    const refused = await failure(engine.generate({ ...params, n: 2 }))
    expect(refused).toBeInstanceOf(OverloadedError)
    expect(refused).toMatchObject({ limit: 4, requested: 5 })
    const more = engine.generate(params)
    expect(await failure(engine.generate({ ...params, n: 5 }))).toMatchObject({
      code: 'InvalidParams',
      param: 'n',
      limit: 4,
    })
    three.cancel()
    more.cancel()
    await Promise.all([three, more])
  })
})

test.each([0, -1, 1.5, 129, Number.NaN, '2', true])('n: %s is refused with an error that names n', async n => {
  const { engine, model } = await simulated()
  const error = await failure(engine.generate({ model, prompt: 'Hello', n } as GenerateParams))
  expect(error).toBeInstanceOf(InvalidParamsError)
  expect(error).toMatchObject({ param: 'n' })
})

test('createGenerator refuses several choices, because its items have no index', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const items = engine.createGenerator({ model, ...LONG, n: 2 })
  expect(await failure(items.next())).toMatchObject({ code: 'InvalidParams', param: 'n' })
  await until(() => engine.stats().running === 0 && engine.stats().queued === 0)
})
