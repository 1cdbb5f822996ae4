// Chunks end with the finish reason of their answer, and keep the order of text and tool calls.

import type { GenerateChunk, Generation, Message, Tool } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { PROMPT, speaking } from './speaking.js'
import { ENDLESS, failure, longAnswer, M3_MAX, type Ready, sharing, simulated, until } from './support.js'

async function chunksOf(generation: AsyncIterable<GenerateChunk>): Promise<GenerateChunk[]> {
  const chunks: GenerateChunk[] = []
  for await (const chunk of generation) chunks.push(chunk)
  return chunks
}

/** The chunks with a finish reason. They are the last ones of their answers. */
function lastOf(chunks: GenerateChunk[]): GenerateChunk[] {
  const lasts = chunks.filter(chunk => 'finishReason' in chunk)
  for (const last of lasts) expect(chunks.findLast(({ index }) => index === last.index)).toBe(last)
  return lasts
}

describe('the last chunk of an answer has its finish reason, and no other chunk has one', () => {
  const reasonOf = async (generation: Generation) => {
    const [last, ...others] = lastOf(await chunksOf(generation))
    expect(others).toEqual([])
    expect(last.finishReason).toBe((await generation).finishReason)
    return last.finishReason
  }

  test.each([undefined, M3_MAX])('of an answer that ends and of one that is cut, on %s', async profile => {
    const { engine, model } = await simulated(profile)
    const params = { ...(await longAnswer(40)), model }
    expect(await reasonOf(engine.generate(params))).toBe('stop')
    expect(await reasonOf(engine.generate({ ...params, maxTokens: 20 }))).toBe('length')
  })

  test('of a coalesced answer and of a cached one', async () => {
    // The second request arrives during the first step, which takes more than 1 s.
    const faults = [{ step: 0, kind: 'stall' as const, ms: 1_000 }]
    const { engine, model } = await sharing(M3_MAX, { backend: { simulated: M3_MAX, faults } })
    const ask = async () => engine.generate({ ...(await longAnswer(40)), model, maxTokens: 20 })
    const generations = [engine.generate({ ...(await longAnswer(40)), model, maxTokens: 20 })]
    generations.push(engine.generate({ ...(await longAnswer(40)), model, maxTokens: 20 }))
    expect(await Promise.all(generations.map(reasonOf))).toEqual(['length', 'length'])
    const cached = engine.generate({ ...(await longAnswer(40)), model, maxTokens: 20 })
    expect(await reasonOf(cached)).toBe('length')
    const served = (await Promise.all([...generations, cached])).map(({ served }) => served)
    expect(served).toEqual(['computed', 'coalesced', 'cached'])
    expect((await ask()).served).toBe('cached')
  })

  test('of an answer that was complete before it was read', async () => {
    const { engine, model } = await simulated()
    const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 8 })
    const { text, tokens, finishReason } = await generation
    expect(await chunksOf(generation)).toEqual([{ index: 0, text, tokens, finishReason }])
  })

  test('of an answer without text', async () => {
    const { engine, model } = await simulated()
    const params = { ...(await longAnswer(40)), model }
    const { text } = await engine.generate(params)
    const generation = engine.generate({ ...params, stopSequences: [text.slice(0, 2)] })
    const chunks = await chunksOf(generation)
    expect(chunks.map(chunk => chunk.text).join('')).toBe('')
    expect(lastOf(chunks)).toMatchObject([{ finishReason: 'stop' }])
  })

  test('of an answer with text that was held back', async () => {
    const { engine, model } = await simulated(M3_MAX)
    const params = { ...(await longAnswer(40)), model, maxTokens: 20 }
    const { text } = await engine.generate(params)
    const generation = engine.generate({ ...params, stopSequences: [`${text.slice(-4)}\u0000`] })
    expect(await reasonOf(generation)).toBe('length')
    expect((await generation).text).toBe(text)
  })

  test('of a cancelled answer, running or waiting', async () => {
    const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
    const running = engine.generate({ ...ENDLESS, model })
    const waiting = engine.generate({ model, prompt: 'Hello' })
    const read = chunksOf(waiting)
    await until(() => engine.stats().queued === 1)
    waiting.cancel()
    expect(await read).toEqual([{ index: 0, text: '', tokens: new Uint32Array(), finishReason: 'cancelled' }])
    const chunks: GenerateChunk[] = []
    for await (const chunk of running) {
      chunks.push(chunk)
      running.cancel()
    }
    expect(lastOf(chunks)).toMatchObject([{ finishReason: 'cancelled' }])
  })

  test('of each of several answers', async () => {
    const { engine, model } = await simulated(M3_MAX)
    const generation = engine.generate({ ...(await longAnswer(40)), model, n: 3 })
    const lasts = lastOf(await chunksOf(generation))
    const { choices = [] } = await generation
    const reasons = lasts.sort((a, b) => a.index - b.index).map(({ index, finishReason }) => [index, finishReason])
    expect(reasons).toEqual(choices.map(({ finishReason }, index) => [index, finishReason]))
  })

  test('of a ReadableStream', async () => {
    const { engine, model } = await simulated()
    const generation = engine.generate({ model, prompt: 'Hello', maxTokens: 8 })
    const chunks = await chunksOf(generation.toReadableStream() as unknown as AsyncIterable<GenerateChunk>)
    expect(lastOf(chunks)).toMatchObject([{ finishReason: (await generation).finishReason }])
  })

  test('a stream that fails has none', async () => {
    const { engine, model } = await simulated(M3_MAX)
    const chunks: GenerateChunk[] = []
    const loop = async () => {
      const options = { timeoutMs: 200 }
      for await (const chunk of engine.generate({ ...ENDLESS, model }, options)) chunks.push(chunk)
    }
    expect(await failure(loop())).toMatchObject({ code: 'Timeout' })
    expect(lastOf(chunks)).toEqual([])
  })
})

test('chunks without a reason have the same fields as each other', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const chunks = await chunksOf(engine.generate({ ...(await longAnswer(40)), model, maxTokens: 20 }))
  for (const chunk of chunks.slice(0, -1)) expect(Object.keys(chunk)).toEqual(['index', 'text', 'tokens'])
})

describe('the order of text and calls', () => {
  const tools: Tool[] = ['f', 'g'].map(name => ({ type: 'function', function: { name } }))
  const messages: Message[] = [{ role: 'user', content: 'Do it.' }]
  const call = (name: string, rest = '') =>
    `<tool_call>{"name": "${name}", "arguments": {"x": "1 2 3"}${rest}}</tool_call>`
  const params = { messages, tools, maxTokens: 100 }
  const speak = (answer: string, profile?: string) =>
    speaking(answer, `{# <tool_call> </think> #}{{ tools }} ${PROMPT}`, { ...(profile && { profile }), cache: {} })

  /** The events of a client that handles reasoning, text and calls of each chunk in this order. */
  function seen(chunks: GenerateChunk[]): string[] {
    const all: string[] = []
    const join = (kind: string, part: string) => {
      if (part === '') return
      if (all.at(-1)?.startsWith(kind)) all[all.length - 1] += part
      else all.push(kind + part)
    }
    for (const { reasoning = '', text, toolCalls = [] } of chunks) {
      join('reasoning: ', reasoning)
      join('text: ', text)
      for (const { name, argumentsDelta, isComplete, isWithdrawn } of toolCalls) {
        if (name !== undefined) all.push(`call: ${name} `)
        join('call: ', argumentsDelta)
        if (isComplete) all.push('complete')
        if (isWithdrawn) all.push('withdrawn')
      }
    }
    return all
  }

  const ANSWER = `<think>Well.</think>One. ${call('f')} Two. ${call('g')}\n${call('f')} Three.`
  const EXPECTED = [
    'reasoning: Well.',
    'text: One.',
    'call: f {"x":"1 2 3"}',
    'complete',
    'text:  Two.',
    'call: g {"x":"1 2 3"}',
    'complete',
    'call: f {"x":"1 2 3"}',
    'complete',
    'text:  Three.',
  ]

  /** Ways to read an answer. */
  const ways: Record<string, (ready: Ready) => Promise<GenerateChunk[]>> = {
    'while it is generated': ({ engine, model }) => chunksOf(engine.generate({ model, ...params })),
    'by a reader that lets several steps pass': async ({ engine, model }) => {
      const chunks = engine.generate({ model, ...params })[Symbol.asyncIterator]()
      const first = await chunks.next()
      // This blocks the event loop, so that the next chunk has the tokens of several steps.
      const blocked = new Int32Array(new SharedArrayBuffer(4))
      while (engine.stats().completed === 0) Atomics.wait(blocked, 0, 0, 10)
      return [...(first.done ? [] : [first.value]), ...(await chunksOf({ [Symbol.asyncIterator]: () => chunks }))]
    },
    'from the cache': async ({ engine, model }) => {
      await engine.generate({ model, ...params })
      const generation = engine.generate({ model, ...params })
      const chunks = await chunksOf(generation)
      expect((await generation).served).toBe('cached')
      return chunks
    },
    'after its end': async ({ engine, model }) => {
      const generation = engine.generate({ model, ...params })
      await generation
      return chunksOf(generation)
    },
  }

  test.each(Object.entries(ways))('is the order of the answer when it is read %s', async (_, readBy) => {
    const ready = await speak(ANSWER, M3_MAX)
    const chunks = await readBy(ready)
    expect(seen(chunks)).toEqual(EXPECTED)
    const whole = await ready.engine.generate({ model: ready.model, ...params })
    const { text, tokens, toolCalls = [], finishReason } = whole
    expect(chunks.map(chunk => chunk.text).join('')).toBe(text)
    expect(chunks.flatMap(chunk => [...chunk.tokens])).toEqual([...tokens])
    expect([toolCalls.length, finishReason]).toEqual([3, 'tool-calls'])
    expect(lastOf(chunks)).toMatchObject([{ finishReason }])
  })

  test('the text of a malformed call comes after its withdrawal', async () => {
    const malformed = call('f', ', oops')
    const ready = await speak(`One. ${malformed} Two.`, M3_MAX)
    for (const way of ['while it is generated', 'from the cache']) {
      const all = seen(await ways[way](ready))
      expect(all).toEqual(['text: One.', 'call: f {"x":"1 2 3"}', 'withdrawn', `text:  ${malformed} Two.`])
    }
  })

  test('createGenerator yields each token once, with the whole text', async () => {
    const { engine, model } = await speak(ANSWER)
    const { text, tokens } = await engine.generate({ model, ...params })
    const [texts, ids]: [string[], number[]] = [[], []]
    for await (const item of engine.createGenerator({ model, ...params })) {
      if (item.type === 'metadata') continue
      texts.push(item.token)
      ids.push(item.tokenId)
    }
    expect([texts.join(''), ids]).toEqual([text, [...tokens]])
  })
})

describe('the id of a generation', () => {
  test('is known at once and equals the id of the result', async () => {
    const { engine, model } = await simulated()
    const named = engine.generate({ model, prompt: 'Hello' }, { id: 'mine' })
    const [first, second] = [0, 1].map(() => engine.generate({ model, prompt: 'Hello' }))
    expect(named.id).toBe('mine')
    expect(first.id).not.toBe(second.id)
    expect((await Promise.all([named, first, second])).map(({ id }) => id)).toEqual(['mine', first.id, second.id])
  })

  test('is the id of the first of several answers', async () => {
    const { engine, model } = await simulated()
    const generation = engine.generate({ model, prompt: 'Hello', n: 3 })
    const { id } = generation
    const result = await generation
    expect(result.id).toBe(id)
    expect(result.choices?.map(choice => choice.id)).toEqual([id, `${id}#1`, `${id}#2`])
  })

  test('exists for a request that fails', async () => {
    const { engine, model } = await simulated()
    const failed = engine.generate({ model, prompt: '' }, { id: 'mine' })
    const unreadable = engine.generate(undefined as never)
    const malformed = engine.generate({ model, prompt: 'Hello' }, { id: 7 as never })
    expect(failed.id).toBe('mine')
    for (const generation of [unreadable, malformed]) expect(generation.id).toMatch(/^[0-9a-f]{8}-\d+$/)
    for (const generation of [failed, unreadable, malformed]) {
      expect(await failure(generation)).toMatchObject({ code: 'InvalidParams' })
    }
  })
})
