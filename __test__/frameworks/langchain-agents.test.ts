// Agents of LangChain with the chat model: the loop of tools, its stream, its state between turns, and structured answers.

import { AIMessageChunk, HumanMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { InMemoryStore, MemorySaver } from '@langchain/langgraph'
import { createAgent, providerStrategy, toolStrategy } from 'langchain'
import type { ScriptedAnswers } from 'mlx-serving'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { demo, scripted } from './langchain.js'

const calculator = tool(
  async ({ expression }) => (expression.replaceAll(' ', '') === '321*123' ? '39483' : 'unknown'),
  {
    name: 'calculator',
    description: 'Works out an arithmetic expression.',
    schema: z.object({ expression: z.string().describe('For example 12 * 34.') }),
  },
)
const add = tool(async ({ a, b }) => String(a + b), {
  name: 'add',
  description: 'Adds two numbers.',
  schema: z.object({ a: z.int(), b: z.int() }).strict(),
})

/** Calls `add` once, and then says its result. */
const CALLS_THEN_SAYS: ScriptedAnswers = ({ messages }) => {
  const last = messages.at(-1)
  return last?.role === 'tool'
    ? { text: `It is ${last.content}.` }
    : { toolCalls: [{ name: 'add', arguments: { a: 12, b: 7 } }] }
}

test('an agent with the demo model calls its tool and answers with the result', async () => {
  const { chat } = await demo()
  const agent = createAgent({ model: chat, tools: [calculator] })
  const { messages } = await agent.invoke({ messages: [new HumanMessage('What is 321 * 123?')] })
  expect(messages.map(message => message.type)).toEqual(['human', 'ai', 'tool', 'ai'])
  expect(messages.at(-1)?.text).toContain('39483')
})

test('the tokens of an agent are streamed, and so are its steps', async () => {
  const { chat } = await scripted(CALLS_THEN_SAYS)
  const agent = createAgent({ model: chat, tools: [add] })
  let text = ''
  const steps: string[] = []
  const input = { messages: [new HumanMessage('What is 12 + 7?')] }
  for await (const [mode, part] of await agent.stream(input, { streamMode: ['messages', 'updates'] })) {
    if (mode === 'messages' && part[0].type === 'ai') text += part[0].text
    if (mode === 'updates') steps.push(...Object.keys(part))
  }
  expect(text).toBe('It is 19.')
  expect(steps).toEqual(['model_request', 'tools', 'model_request'])
})

test('an agent keeps its conversation, and answers with an object', async () => {
  const { chat } = await scripted(({ messages }) => {
    const isFirst = messages.length === 1
    return {
      toolCalls: [isFirst ? { name: 'add', arguments: { a: 12, b: 7 } } : { name: 'sum', arguments: { sum: 19 } }],
    }
  })
  const schema = z.object({ sum: z.int() }).meta({ title: 'sum' })
  const agent = createAgent({
    model: chat,
    tools: [add],
    responseFormat: toolStrategy(schema),
    checkpointer: new MemorySaver(),
  })
  const thread = { configurable: { thread_id: '1' } }
  const first = await agent.invoke({ messages: [new HumanMessage('What is 12 + 7?')] }, thread)
  expect(first.structuredResponse).toEqual({ sum: 19 })
  const second = await agent.invoke({ messages: [new HumanMessage('Again?')] }, thread)
  expect(second.messages.length).toBeGreaterThan(first.messages.length)
  expect(second.structuredResponse).toEqual({ sum: 19 })
})

test('the events of an agent have its reasoning, text and tool calls, each in a block of its own', async () => {
  const { chat } = await scripted(({ messages }) => {
    const last = messages.at(-1)
    if (last?.role === 'tool') return { text: `It is ${last.content}.` }
    const sums = [
      { a: 12, b: 7 },
      { a: 1, b: 2 },
    ]
    return { reasoning: 'I add.', text: 'Wait.', toolCalls: sums.map(sum => ({ name: 'add', arguments: sum })) }
  })
  const agent = createAgent({ model: chat, tools: [add] })
  const question = new HumanMessage('What is 12 + 7?')
  const run = await agent.streamEvents({ messages: [question] }, { version: 'v3' })
  const { messages } = await run.output
  expect(messages.map(({ type, text }) => [type, text])).toEqual([
    ['human', question.text],
    ['ai', 'Wait.'],
    ['tool', '19'],
    ['tool', '3'],
    ['ai', 'It is 3.'],
  ])
  expect(messages[1]).toMatchObject({
    content: [
      { type: 'reasoning', reasoning: 'I add.' },
      { type: 'text', text: 'Wait.' },
      { type: 'tool_call', name: 'add', args: { a: 12, b: 7 } },
      { type: 'tool_call', name: 'add', args: { a: 1, b: 2 } },
    ],
    tool_calls: [{ args: { a: 12, b: 7 } }, { args: { a: 1, b: 2 } }],
    response_metadata: { finish_reason: 'tool_use', model_provider: 'mlx' },
    usage_metadata: { total_tokens: expect.any(Number) },
  })
  expect(messages.at(-1)?.response_metadata).toMatchObject({ finish_reason: 'stop' })
})

test('a stream of messages has the usage and the finish reason of each answer', async () => {
  const { chat } = await scripted(CALLS_THEN_SAYS)
  const agent = createAgent({ model: chat, tools: [add] })
  const found: unknown[] = []
  const input = { messages: [new HumanMessage('What is 12 + 7?')] }
  for await (const [message] of await agent.stream(input, { streamMode: 'messages' })) {
    if (!AIMessageChunk.isInstance(message) || message.usage_metadata === undefined) continue
    found.push([message.response_metadata.finish_reason, message.usage_metadata.output_tokens > 0])
  }
  expect(found).toEqual([
    ['tool_calls', true],
    ['stop', true],
  ])
})

test('options that LangGraph passes to the model are no unknown options', async () => {
  const { chat } = await scripted(CALLS_THEN_SAYS)
  const agent = createAgent({
    model: chat,
    tools: [add],
    checkpointer: new MemorySaver(),
    store: new InMemoryStore(),
    contextSchema: z.object({ user: z.string() }),
  })
  const input = { messages: [new HumanMessage('What is 12 + 7?')] }
  const options = {
    configurable: { thread_id: '1' },
    context: { user: 'Ann' },
    durability: 'sync' as const,
    interruptBefore: [],
    runName: 'sum',
    maxConcurrency: 2,
    signal: AbortSignal.timeout(60_000),
  }
  await agent.invoke(input, options)
  for await (const _ of await agent.stream(input, { ...options, streamMode: ['custom', 'messages', 'debug'] }));
  const { messages } = await agent.invoke(input, options)
  const answers = messages.filter(message => message.type === 'ai')
  expect(answers).toHaveLength(6)
  expect(answers.filter(({ response_metadata }) => 'warnings' in response_metadata)).toEqual([])
})

test('the schema of an agent is enforced, also beside tools, and is no unknown option', async () => {
  const schema = z.object({ sum: z.int().min(0).max(99) }).strict()
  const { chat: model } = await demo()
  for (const agent of [
    createAgent({ model, responseFormat: schema }),
    createAgent({ model, responseFormat: providerStrategy(schema) }),
  ]) {
    const { structuredResponse, messages } = await agent.invoke({ messages: [new HumanMessage('What is 12 + 7?')] })
    expect(structuredResponse).toEqual({ sum: expect.any(Number) })
    expect(messages.at(-1)?.response_metadata).not.toHaveProperty('warnings')
  }
  const { chat } = await scripted(({ messages }) =>
    messages.at(-1)?.role === 'tool'
      ? { text: '{"sum": 19}' }
      : { toolCalls: [{ name: 'add', arguments: { a: 12, b: 7 } }] },
  )
  const agent = createAgent({ model: chat, tools: [add], responseFormat: providerStrategy(schema) })
  const { structuredResponse, messages } = await agent.invoke({ messages: [new HumanMessage('What is 12 + 7?')] })
  expect(structuredResponse).toEqual({ sum: 19 })
  expect(messages.map(message => message.type)).toEqual(['human', 'ai', 'tool', 'ai'])
})
