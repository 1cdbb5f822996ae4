// The server through the AI SDK and LangChain: text, streams, tools, objects, reasoning, usage and errors.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { HumanMessage } from '@langchain/core/messages'
import { tool as langchainTool } from '@langchain/core/tools'
import { ChatOpenAI } from '@langchain/openai'
import { generateObject, generateText, jsonSchema, streamText, tool } from 'ai'
import type { ScriptedAnswers } from 'mlx-serving'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { type Served, served, servedAs } from '../serving.js'
import { failure, M3_MAX, simulated, until, withMlx } from '../support.js'

const CALLS_THEN_TEXT: ScriptedAnswers = ({ messages }) => {
  const last = messages.at(-1)
  return last?.role === 'tool'
    ? { text: `It is ${last.content}.` }
    : { toolCalls: [{ name: 'add', arguments: { a: 12, b: 7 } }] }
}

/** A model of the AI SDK. */
const sdkOf = ({ url, model }: Served) =>
  createOpenAICompatible({
    name: 'mlx',
    baseURL: `${url}/v1`,
    includeUsage: true,
    supportsStructuredOutputs: true,
  })(model.id)

/** A model of LangChain. */
const chainOf = ({ url, model }: Served, options: object = {}) =>
  new ChatOpenAI({
    model: model.id,
    apiKey: 'none',
    maxRetries: 0,
    configuration: { baseURL: `${url}/v1` },
    ...options,
  })

test('AI SDK: the demo model gives the same text and usage, whole and as a stream', async () => {
  const server = await served(await withMlx())
  const prompt = 'What is 12 + 7?'
  const whole = await generateText({ model: sdkOf(server), prompt })
  expect(whole.text).toContain('19')
  expect(whole.finishReason).toBe('stop')
  const stream = streamText({ model: sdkOf(server), prompt })
  let text = ''
  for await (const part of stream.textStream) text += part
  expect(text).toBe(whole.text)
  const usage = await stream.usage
  expect([usage.inputTokens, usage.outputTokens]).toEqual([whole.usage.inputTokens, whole.usage.outputTokens])
})

test('AI SDK: an object matches its schema', async () => {
  const server = await served(await withMlx())
  const schema = jsonSchema<{ sum: number }>({
    type: 'object',
    properties: { sum: { type: 'integer' } },
    required: ['sum'],
    additionalProperties: false,
  })
  const { object } = await generateObject({ model: sdkOf(server), schema, prompt: 'What is 12 + 7?' })
  expect(object).toEqual({ sum: expect.any(Number) })
})

test('AI SDK: tools are called and their results answered, whole and streamed', async () => {
  const server = await servedAs(CALLS_THEN_TEXT)
  const inputSchema = z.object({ a: z.number(), b: z.number() })
  const tools = { add: tool({ description: 'Adds.', inputSchema, execute: async ({ a, b }) => a + b }) }
  const stopWhen = ({ steps }: { steps: unknown[] }) => steps.length === 2
  const whole = await generateText({ model: sdkOf(server), tools, stopWhen, prompt: 'What is 12 + 7?' })
  expect(whole.text).toBe('It is 19.')
  const stream = streamText({ model: sdkOf(server), tools, stopWhen, prompt: 'And what is 12 + 7?' })
  expect(await stream.text).toBe('It is 19.')
})

test('AI SDK: reasoning is separate from the text, whole and streamed', async () => {
  const server = await servedAs(() => ({ reasoning: 'Let me see', text: 'Done' }))
  expect(await generateText({ model: sdkOf(server), prompt: 'a' })).toMatchObject({
    reasoningText: 'Let me see',
    text: 'Done',
  })
  const stream = streamText({ model: sdkOf(server), prompt: 'b' })
  expect([await stream.reasoningText, await stream.text]).toEqual(['Let me see', 'Done'])
})

test('AI SDK: errors have their status and message', async () => {
  const server = await served(await withMlx())
  const tooLong = generateText({ model: sdkOf(server), prompt: 'word '.repeat(3000), maxRetries: 0 })
  expect(await failure(tooLong)).toMatchObject({ statusCode: 400, message: expect.stringContaining('context') })
})

test('LangChain: the demo model gives the same text, whole and as a stream', async () => {
  const server = await served(await withMlx())
  const chat = chainOf(server)
  const question = [new HumanMessage('What is 12 + 7?')]
  const whole = await chat.invoke(question)
  expect(whole.text).toContain('19')
  expect(whole.usage_metadata?.output_tokens).toBeGreaterThan(0)
  let text = ''
  for await (const chunk of await chat.stream(question)) text += chunk.text
  expect(text).toBe(whole.text)
})

test('LangChain: the Responses API gives the same answer', async () => {
  const server = await served(await withMlx())
  const question = [new HumanMessage('What is 12 + 7?')]
  const whole = await chainOf(server, { useResponsesApi: true }).invoke(question)
  expect(whole.text).toBe((await chainOf(server).invoke(question)).text)
})

test('LangChain: tools are called, and structured output matches its schema', async () => {
  const schema = z.object({ a: z.number(), b: z.number() })
  const add = langchainTool(async ({ a, b }) => a + b, { name: 'add', description: 'Adds.', schema })
  const called = await chainOf(await servedAs(CALLS_THEN_TEXT))
    .bindTools([add])
    .invoke([new HumanMessage('12 + 7?')])
  expect(called.tool_calls).toMatchObject([
    { name: 'add', args: { a: 12, b: 7 }, id: expect.stringMatching(/^\w{9}$/) },
  ])
  const chat = chainOf(await served(await withMlx()))
  const structured = chat.withStructuredOutput(z.object({ sum: z.number().int() }), { method: 'jsonSchema' })
  expect(await structured.invoke([new HumanMessage('What is 12 + 7?')])).toEqual({ sum: expect.any(Number) })
})

test('AI SDK and LangChain: an abort cancels the request', async () => {
  const server = await served(await simulated(M3_MAX))
  const endless = { ignore_eos: true }
  const [first, second] = [new AbortController(), new AbortController()]
  const asked = { model: sdkOf(server), prompt: 'Tell me a story.', providerOptions: { mlx: endless } }
  const text = generateText({ ...asked, abortSignal: first.signal })
  await until(() => server.engine.stats().running === 1)
  first.abort()
  await failure(text)
  await until(() => server.engine.stats().cancelled === 1)
  const messages = [new HumanMessage('Tell me a long story.')]
  const chain = chainOf(server, { modelKwargs: endless }).invoke(messages, { signal: second.signal })
  await until(() => server.engine.stats().running === 1)
  second.abort()
  await failure(chain)
  await until(() => server.engine.stats().cancelled === 2)
})
