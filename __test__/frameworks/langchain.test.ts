// The chat model of LangChain: whole and streamed answers, params, tools, structured output.

import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { BaseChatModel } from '@langchain/core/language_models/chat_models'
import { AIMessage, type AIMessageChunk, HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages'
import { ChatPromptTemplate } from '@langchain/core/prompts'
import { tool } from '@langchain/core/tools'
import type { Message, ScriptedRequest } from 'mlx-serving'
import { mlx } from 'mlx-serving/ai-sdk'
import { ChatMlx } from 'mlx-serving/langchain'
import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { failure, ROOT } from '../support.js'
import { demo, scripted } from './langchain.js'

const add = tool(async ({ a, b }) => String(a + b), {
  name: 'add',
  description: 'Adds two numbers.',
  schema: z.object({ a: z.int(), b: z.int() }).strict(),
})
const SUM = z.object({ sum: z.int().min(0).max(99) }).strict()

async function joined(stream: AsyncIterable<AIMessageChunk>): Promise<{ message: AIMessageChunk; chunks: number }> {
  let message: AIMessageChunk | undefined
  let chunks = 0
  for await (const chunk of stream) {
    message = message === undefined ? chunk : message.concat(chunk)
    chunks++
  }
  return { message: message as AIMessageChunk, chunks }
}

test('the demo model answers, whole and streamed alike, with usage and metadata', async () => {
  const { chat } = await demo()
  const answer = await chat.invoke('What is 20 + 3?')
  expect(answer.text).toContain('23')
  const usage = answer.usage_metadata
  expect(usage).toMatchObject({ input_token_details: { cache_read: 0 }, output_token_details: { reasoning: 0 } })
  expect(usage?.total_tokens).toBe((usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0))
  const metadata = { model_provider: 'mlx', model_name: 'demo', finish_reason: 'stop', served: 'computed' }
  expect(answer.response_metadata).toMatchObject(metadata)
  const { message, chunks } = await joined(await chat.stream('What is 20 + 3?'))
  expect(chunks).toBeGreaterThan(2)
  expect(message.text).toBe(answer.text)
  expect(message.usage_metadata).toEqual(usage)
  expect(message.response_metadata).toMatchObject(metadata)
})

test('a chain with a prompt, a batch, and callbacks for each token', async () => {
  const { chat, engine } = await demo()
  const prompt = ChatPromptTemplate.fromMessages([['human', 'What is {a} + 1?']])
  const sums = [3, 14, 25, 36]
  const answers = await prompt.pipe(chat).batch(sums.map(a => ({ a })))
  expect(answers.map(({ text }, at) => text.includes(String(sums[at] + 1)))).toEqual([true, true, true, true])
  expect(engine.stats().meanBatch).toBeGreaterThan(1)
  const tokens: string[] = []
  const callbacks = [{ handleLLMNewToken: (token: string) => void tokens.push(token) }]
  const { message } = await joined(await chat.stream('What is 20 + 3?', { callbacks }))
  expect(tokens.join('')).toBe(message.text)
})

test('params of the model and of a call reach the engine, the call first', async () => {
  const asked: ScriptedRequest['params'][] = []
  const fields = { temperature: 0.5, topK: 7, stopSequences: ['x'], minP: 0.1, tenant: 'one' }
  const { chat } = await scripted(request => {
    asked.push(request.params)
    return { text: 'Hello. Bye.' }
  }, fields)
  const { text, response_metadata } = await chat.invoke('Hi', {
    temperature: 0.25,
    stop: [' Bye'],
    seed: 11,
    maxTokens: 20,
  })
  expect([text, response_metadata.seed]).toEqual(['Hello.', 11])
  expect(asked[0]).toMatchObject({
    temperature: 0.25,
    topK: 7,
    minP: 0.1,
    seed: 11,
    maxTokens: 20,
    stopSequences: [' Bye'],
  })
  const cut = await chat.invoke('Hi', { maxTokens: 1 })
  expect(cut.response_metadata.finish_reason).toBe('length')
  expect(chat.invocationParams({ seed: 1 })).toMatchObject({ temperature: 0.5, seed: 1 })
})

test('parallelToolCalls reaches the engine only in requests with tools', async () => {
  const asked: ScriptedRequest['params'][] = []
  const { chat } = await scripted(
    ({ params }) => {
      asked.push(params)
      return { text: 'Hi.' }
    },
    { parallelToolCalls: false },
  )
  await chat.invoke('Hi')
  await chat.bindTools([add]).invoke('Hi')
  expect(asked.map(({ parallelToolCalls }) => parallelToolCalls)).toEqual([undefined, false])
})

test('wrong options name the option', async () => {
  const make = (fields: object) => failure((async () => new ChatMlx(fields))())
  expect(await make({ temprature: 1 })).toMatchObject({ code: 'InvalidParams', param: 'temprature' })
  expect(await make({ engine: {} })).toMatchObject({ code: 'ConfigError', param: 'engine' })
  expect(await make({ model: 5 })).toMatchObject({ code: 'InvalidParams', param: 'model' })
})

test('a loop of tools with reasoning: parallel calls, and their results in the prompt', async () => {
  let seen: readonly Message[] = []
  const { chat } = await scripted(({ text, messages }) => {
    seen = messages
    if (text === '3') return { text: 'They are 19 and 3.' }
    const toolCalls = [
      [12, 7],
      [1, 2],
    ].map(([a, b]) => ({ name: 'add', arguments: { a, b } }))
    return { reasoning: 'I add.', text: 'Wait.', toolCalls }
  })
  const model = chat.bindTools([add])
  const messages = [new SystemMessage('Be brief.'), new HumanMessage('What is 12 + 7, and 1 + 2?')]
  for (const ask of [() => model.invoke(messages), async () => (await joined(await model.stream(messages))).message]) {
    const answer = await ask()
    expect([answer.text, answer.additional_kwargs.reasoning_content]).toEqual(['Wait.', 'I add.'])
    expect(answer.tool_calls?.map(({ name, args }) => [name, args])).toEqual([
      ['add', { a: 12, b: 7 }],
      ['add', { a: 1, b: 2 }],
    ])
    expect(answer.response_metadata.finish_reason).toBe('tool_calls')
    expect(answer.usage_metadata?.output_token_details?.reasoning).toBeGreaterThan(0)
    const results = await Promise.all((answer.tool_calls ?? []).map(call => add.invoke(call)))
    expect((await model.invoke([...messages, answer, ...results])).text).toBe('They are 19 and 3.')
    expect(seen).toMatchObject([
      { role: 'system', content: 'Be brief.' },
      { role: 'user' },
      { role: 'assistant', content: 'Wait.', reasoning: 'I add.', toolCalls: [{ function: { name: 'add' } }, {}] },
      { role: 'tool', name: 'add', content: '19', toolCallId: answer.tool_calls?.[0].id },
      { role: 'tool', content: '3' },
    ])
  }
})

test('the choice of a tool is enforced', async () => {
  const { engine } = await demo()
  const chat = new ChatMlx({ engine, model: { id: 'with-tools', toolPrompt: 'hermes' } })
  for (const tool_choice of ['any', 'required', 'add', { type: 'function' as const, function: { name: 'add' } }]) {
    const { tool_calls } = await chat.bindTools([add], { tool_choice }).invoke('What is 12 + 7?')
    expect(tool_calls?.[0]).toMatchObject({ name: 'add', args: { a: expect.any(Number), b: expect.any(Number) } })
  }
  const { tool_calls } = await chat.bindTools([add], { tool_choice: 'none' }).invoke('What is 12 + 7?')
  expect(tool_calls).toEqual([])
})

test('a malformed call stays text: LangChain does not complete it to a tool call', async () => {
  const text = '<tool_call>{"name": "add", "arguments": {"a": 1 oops</tool_call>'
  const { chat } = await scripted([{ match: 'Add', text }])
  const model = chat.bindTools([add])
  for (const answer of [await model.invoke('Add'), (await joined(await model.stream('Add'))).message]) {
    expect([answer.text, answer.tool_calls, answer.invalid_tool_calls]).toEqual([text, [], []])
    expect(answer.response_metadata.warnings).toEqual([expect.stringContaining('a tool call')])
  }
})

test('structured output: a text that is enforced, or an enforced call', async () => {
  const { chat, engine } = await demo()
  expect(await chat.withStructuredOutput(SUM).invoke('What is 12 + 7?')).toEqual({ sum: expect.any(Number) })
  const raw = await chat.withStructuredOutput(SUM, { includeRaw: true }).invoke('What is 12 + 7?')
  expect(raw).toMatchObject({ parsed: { sum: expect.any(Number) }, raw: { tool_calls: [] } })
  const json = {
    title: 'answer',
    type: 'object',
    properties: { sum: { enum: [1, 2] } },
    required: ['sum'],
    additionalProperties: false,
  }
  expect([1, 2]).toContain((await chat.withStructuredOutput(json).invoke('What is 1 + 1?')).sum)
  const calling = new ChatMlx({ engine, model: { id: 'with-tools', toolPrompt: 'hermes' } })
  const called = calling.withStructuredOutput(json, { method: 'functionCalling', includeRaw: true })
  expect(await called.invoke('What is 1 + 1?')).toMatchObject({
    parsed: { sum: expect.any(Number) },
    raw: { tool_calls: [{ name: 'answer' }] },
  })
})

test('parts of a message: texts are joined or kept, images are refused', async () => {
  let seen: readonly Message[] = []
  const { chat } = await scripted(({ messages }) => {
    seen = messages
    return { text: 'Yes.' }
  })
  const parts = [
    { type: 'text', text: 'One' },
    { type: 'text', text: 'two' },
  ]
  const thought = [{ type: 'reasoning', reasoning: 'Hm.' }, ...parts]
  const result = new ToolMessage({ tool_call_id: 'a', content: parts })
  const call = { id: 'a', name: 'add', args: {} }
  await chat.invoke([
    new HumanMessage({ content: parts }),
    new AIMessage({ content: thought, tool_calls: [call] }),
    result,
  ])
  expect(seen).toMatchObject([
    { role: 'user', content: parts },
    { role: 'assistant', content: 'Onetwo', reasoning: 'Hm.', toolCalls: [{ id: 'a' }] },
    { role: 'tool', content: 'Onetwo', toolCallId: 'a' },
  ])
  const image = new HumanMessage({ content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }] })
  expect(await failure(chat.invoke([image]))).toMatchObject({ code: 'InvalidParams', param: 'messages.0' })
})

test('each module system has the class on its own build of LangChain, with the same types and the same engine', async () => {
  const { chat } = await demo()
  expect(chat).toBeInstanceOf(BaseChatModel)
  const require = createRequire(__filename)
  const own = new (require('mlx-serving/langchain').ChatMlx)()
  expect(own).toBeInstanceOf(require('@langchain/core/language_models/chat_models').BaseChatModel)
  expect(own).not.toBeInstanceOf(BaseChatModel)
  // Neither was given an engine.
  const engine = await mlx.engine()
  onTestFinished(() => engine.dispose())
  expect(await own.engine()).toBe(engine)
  expect(await new ChatMlx().engine()).toBe(engine)
  const [one, other] = await Promise.all(
    ['ts', 'mts'].map(type => readFile(path.join(ROOT, `langchain.d.${type}`), 'utf8')),
  )
  expect(one).toBe(other)
})
