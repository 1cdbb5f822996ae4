// Agents of LangChain with the chat model: the loop of tools, its stream, its state between turns, and structured answers.

import { HumanMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { MemorySaver } from '@langchain/langgraph'
import { createAgent, toolStrategy } from 'langchain'
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
