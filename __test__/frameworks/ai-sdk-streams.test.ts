// Streams of the AI SDK: the order of their parts, raw chunks, aborts, readers that stop or leave, concurrent calls and models.

import type { LanguageModelV4StreamPart } from '@ai-sdk/provider'
import { generateText, streamText } from 'ai'
import { createMlx } from 'mlx-serving/ai-sdk'
import { expect, test } from 'vitest'
import { failure, M3_MAX, until } from '../support.js'
import { demo, device, scripted } from './ai-sdk.js'

const ask = (text: string) => ({ prompt: [{ role: 'user', content: [{ type: 'text', text }] }] })
const TOOLS = [{ type: 'function', name: 'add', inputSchema: { type: 'object' } }]

/** Settings of an answer that takes 13 s on a simulated M3 Max: tests leave it. */
const LONG = { maxOutputTokens: 2000, providerOptions: { mlx: { ignoreEos: true } } }
const PROMPT = 'Tell me everything.'

async function partsOf(stream: ReadableStream<unknown>): Promise<LanguageModelV4StreamPart[]> {
  const parts = []
  for await (const part of stream as unknown as AsyncIterable<LanguageModelV4StreamPart>) parts.push(part)
  return parts
}

test('a stream has its parts in order, and raw chunks on request', async () => {
  const reply = { reasoning: 'I add.', text: 'Wait.', toolCalls: [{ name: 'add', arguments: { a: 1, b: 2 } }] }
  const { mlx, model } = await scripted([{ match: 'Add', ...reply }])
  const { stream, request } = await mlx.doStream({ ...ask('Add'), tools: TOOLS })
  const parts = await partsOf(stream)
  expect(request.body).toMatchObject({ messages: [{ role: 'user', content: 'Add' }] })
  const kinds = parts.map(({ type }) => type).filter((type, at, all) => type !== all[at - 1])
  expect(kinds).toEqual([
    ...['stream-start', 'response-metadata', 'reasoning-start', 'reasoning-delta', 'reasoning-end'],
    ...['text-start', 'text-delta', 'text-end', 'tool-input-start', 'tool-input-delta', 'tool-input-end', 'tool-call'],
    'finish',
  ])
  expect(parts[1]).toMatchObject({ id: expect.any(String), modelId: model.id, timestamp: expect.any(Date) })
  const inputs = parts.map(part => (part.type === 'tool-input-delta' ? part.delta : '')).join('')
  const called = parts.find(part => part.type === 'tool-call')
  expect(called).toMatchObject({ toolName: 'add', input: inputs })
  expect(JSON.parse(inputs)).toEqual({ a: 1, b: 2 })
  expect(parts.at(-1)).toMatchObject({
    finishReason: { unified: 'tool-calls', raw: 'tool-calls' },
    usage: { inputTokens: { cacheRead: 0 }, raw: { totalTokens: expect.any(Number) } },
    providerMetadata: { mlx: { served: 'computed' } },
  })
  const raw = await partsOf((await mlx.doStream({ ...ask('Add'), tools: TOOLS, includeRawChunks: true })).stream)
  const chunks = raw.flatMap(part => (part.type === 'raw' ? [part.rawValue as { text: string }] : []))
  expect(chunks.map(({ text }) => text).join('')).toBe('Wait.')
})

test('text, a call and text again are three blocks', async () => {
  const text = 'One.<tool_call>{"name": "add", "arguments": {}}</tool_call>Two.'
  const { mlx } = await scripted([{ match: 'Add', text }])
  const parts = await partsOf((await mlx.doStream({ ...ask('Add'), tools: TOOLS })).stream)
  const started = parts.flatMap(part => (/^(text|tool-input)-start$/.test(part.type) ? [part] : []))
  expect(started.map(({ type }) => type)).toEqual(['text-start', 'tool-input-start', 'text-start'])
  expect(new Set(started.map(part => 'id' in part && part.id)).size).toBe(3)
})

test('a stream without text ends with finishReason stop', async () => {
  const { mlx } = await scripted([{ text: '' }])
  const stream = streamText({ model: mlx, prompt: 'Hi' })
  expect([await stream.text, await stream.finishReason]).toEqual(['', 'stop'])
})

test('an abort cancels the request, before the first token and in the middle', async () => {
  const { mlx, engine } = await device(M3_MAX)
  const asked = { model: mlx, prompt: PROMPT, ...LONG }
  const waiting = new AbortController()
  const early = failure(generateText({ ...asked, abortSignal: waiting.signal }))
  await until(() => engine.stats().running === 1)
  waiting.abort()
  expect((await early).name).toBe('AbortError')
  const controller = new AbortController()
  const types: string[] = []
  const stream = streamText({ ...asked, abortSignal: controller.signal })
  for await (const { type } of stream.fullStream) {
    types.push(type)
    if (type === 'text-delta') controller.abort()
  }
  expect(types.at(-1)).toBe('abort')
  await until(() => engine.stats().running === 0)
  expect(engine.stats()).toMatchObject({ cancelled: 2, completed: 0, failed: 0 })
  const aborted = failure(generateText({ ...asked, abortSignal: AbortSignal.abort(new Error('no')) }))
  expect((await aborted).message).toBe('no')
})

test('an abort rejects the stream of the model with its reason', async () => {
  const { mlx } = await device(M3_MAX)
  const controller = new AbortController()
  const { stream } = await mlx.doStream({ ...ask(PROMPT), ...LONG, abortSignal: controller.signal })
  const reader = stream.getReader()
  await reader.read()
  controller.abort(new Error('enough'))
  const rest = async () => {
    while (!(await reader.read()).done);
  }
  expect((await failure(rest())).message).toBe('enough')
})

test('a reader that stops pauses the generation, and later gets the rest', async () => {
  const { mlx, engine } = await device(M3_MAX, { streaming: { bufferTokens: 8 } })
  const maxOutputTokens = 300
  const stream = streamText({ model: mlx, prompt: PROMPT, ...LONG, maxOutputTokens })
  const reader = stream.textStream.getReader()
  await reader.read()
  await until(() => engine.stats().parked === 1)
  // The AI SDK itself reads some parts ahead.
  let generated: number
  do {
    generated = engine.stats().generatedTokens
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate)
  } while (engine.stats().generatedTokens !== generated)
  expect(generated).toBeLessThan(maxOutputTokens)
  while (!(await reader.read()).done);
  expect((await stream.usage).outputTokens).toBe(maxOutputTokens)
})

test('a reader that leaves cancels the request', async () => {
  const { mlx, engine } = await device(M3_MAX)
  const { stream } = await mlx.doStream({ ...ask(PROMPT), ...LONG })
  const reader = stream.getReader()
  await reader.read()
  await reader.cancel()
  await until(() => engine.stats().running === 0)
  expect(engine.stats().cancelled).toBe(1)
})

test('concurrent calls of two models share the engine, and each gets its own answer', async () => {
  const { engine } = await demo()
  const mlx = createMlx({ engine })
  const models = [mlx(), mlx({ id: 'second', chatTemplate: '{% for m in messages %}{{ m.content }}\n{% endfor %}' })]
  const sums = [3, 14, 25, 36, 47, 58]
  const answers = sums.map(async (sum, at) => {
    const asked = { model: models[at % 2], prompt: `What is ${sum} + 1?`, maxOutputTokens: 40 }
    const streamed = await streamText(asked).text
    const alone = await generateText(asked)
    return [streamed === alone.text, alone.response.modelId, at % 2 === 1 || alone.text.includes(String(sum + 1))]
  })
  expect(await Promise.all(answers)).toEqual(sums.map((_, at) => [true, ['demo', 'second'][at % 2], true]))
  expect(engine.listModels()).toHaveLength(2)
})
