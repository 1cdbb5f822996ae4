// Tool calls and reasoning through the AI SDK: loops, parallel calls, the choice of a tool, malformed calls, and conversations
// with everything that a prompt may have.

import {
  dynamicTool,
  generateText,
  hasToolCall,
  isStepCount,
  jsonSchema,
  type ModelMessage,
  Output,
  streamText,
  tool,
} from 'ai'
import type { Message, ScriptedAnswers, ScriptedRequest } from 'mlx-serving'
import { createMlx } from 'mlx-serving/ai-sdk'
import { expect, test } from 'vitest'
import { failure } from '../support.js'
import { ADD, ADDING, demo, scripted } from './ai-sdk.js'

const call = (a: number, b: number) => ({ name: 'add', arguments: { a, b } })
const LOOP: ScriptedAnswers = [
  { match: 'What is', reasoning: 'I add.', text: 'Wait.', toolCalls: [call(12, 7), call(1, 2)] },
  { match: /^3$/, text: 'They are 19 and 3.' },
]
const ASKED = { prompt: 'What is 12 + 7, and 1 + 2?', tools: { add: ADDING }, stopWhen: isStepCount(5) }

test('a loop runs parallel calls, and the model reads their results', async () => {
  const { mlx, engine } = await scripted(LOOP)
  const { text, steps, usage } = await generateText({ model: mlx, ...ASKED })
  expect(text).toBe('They are 19 and 3.')
  expect(steps.map(step => step.finishReason)).toEqual(['tool-calls', 'stop'])
  expect(steps[0]).toMatchObject({ text: 'Wait.', reasoningText: 'I add.' })
  expect(steps[0].toolResults.map(({ input, output }) => [input, output])).toEqual([
    [{ a: 12, b: 7 }, 19],
    [{ a: 1, b: 2 }, 3],
  ])
  expect(steps[0].toolCalls.every(({ toolCallId }) => /^\w{9}$/.test(toolCallId))).toBe(true)
  const { textTokens = 0, reasoningTokens = 0 } = usage.outputTokenDetails
  expect(reasoningTokens).toBeGreaterThan(0)
  expect(textTokens + reasoningTokens).toBe(usage.outputTokens)
  expect(engine.stats().unusedAnswers).toEqual([])
})

test('a streamed loop has the same steps', async () => {
  const { mlx } = await scripted(LOOP)
  const stream = streamText({ model: mlx, ...ASKED })
  const types: string[] = []
  for await (const { type } of stream.fullStream) if (types.at(-1) !== type) types.push(type)
  const input = ['tool-input-start', 'tool-input-delta', 'tool-input-end', 'tool-call']
  const expected = [
    'reasoning-start',
    'reasoning-delta',
    'reasoning-end',
    'text-start',
    'text-delta',
    'text-end',
    ...input,
  ]
  expect(types.filter(type => !/^(start|finish|tool-result)/.test(type)).slice(0, expected.length)).toEqual(expected)
  const steps = await stream.steps
  expect(steps.map(({ text }) => text)).toEqual(['Wait.', 'They are 19 and 3.'])
  expect(steps[0].reasoningText).toBe('I add.')
  expect(steps[0].toolResults.map(({ output }) => output)).toEqual([19, 3])
})

test('toolChoice makes the demo model call a tool', async () => {
  const { engine } = await demo()
  const mlx = createMlx({ engine })({ id: 'with-tools', toolPrompt: 'hermes' })
  const asked = { model: mlx, prompt: 'What is 12 + 7?', tools: { add: ADD, other: ADD } }
  for (const toolChoice of ['required', { type: 'tool', toolName: 'add' }] as const) {
    const { toolCalls, finishReason } = await generateText({ ...asked, toolChoice })
    expect(finishReason).toBe('tool-calls')
    expect(toolCalls[0].input).toEqual({ a: expect.any(Number), b: expect.any(Number) })
    const streamed = await streamText({ ...asked, toolChoice }).toolCalls
    expect(streamed.map(({ toolName, input }) => [toolName, input])).toEqual(
      toolCalls.map(({ toolName, input }) => [toolName, input]),
    )
  }
})

test('toolChoice and parallelToolCalls reach the engine in requests with tools', async () => {
  const asked: ScriptedRequest['params'][] = []
  const { mlx } = await scripted(({ params }) => {
    asked.push(params)
    return { text: 'Hi.' }
  })
  const choices = ['auto', 'none', 'required', { type: 'tool', toolName: 'add' }] as const
  for (const toolChoice of choices) {
    const providerOptions = { mlx: { parallelToolCalls: false } }
    // The scripted answer is a text. That is an error if the request requires a call.
    await generateText({ model: mlx, prompt: 'Hi', tools: { add: ADD }, toolChoice, providerOptions }).catch(() => {})
  }
  await generateText({
    model: mlx,
    prompt: 'Hi',
    toolChoice: 'auto',
    providerOptions: { mlx: { parallelToolCalls: false } },
  })
  expect(asked.map(({ toolChoice }) => toolChoice)).toEqual(['auto', 'none', 'required', { name: 'add' }, undefined])
  expect(asked.map(({ parallelToolCalls }) => parallelToolCalls)).toEqual([false, false, false, false, undefined])
  const parameters = { properties: { a: { type: 'integer' } }, required: ['a', 'b'] }
  expect(asked[0].tools).toMatchObject([{ type: 'function', function: { name: 'add', parameters } }])
})

test('a request with tools and an output schema gets a call, and then the object', async () => {
  const { mlx } = await scripted([
    { match: 'What is', toolCalls: [call(12, 7)] },
    { match: /^19$/, text: '{"sum": 19}' },
  ])
  const schema = jsonSchema<{ sum: number }>({
    type: 'object',
    properties: { sum: { type: 'integer' } },
    required: ['sum'],
  })
  const asked = { ...ASKED, output: Output.object({ schema }) }
  expect((await generateText({ model: mlx, ...asked })).output).toEqual({ sum: 19 })
  const stream = streamText({ model: mlx, ...asked })
  const partial: unknown[] = []
  for await (const part of stream.partialOutputStream) partial.push(part)
  expect(partial.at(-1)).toEqual({ sum: 19 })
})

test('a malformed call is text with a warning, and has no call in the stream', async () => {
  const text = '<tool_call>{"name": "add", "arguments": {"a": 1 oops</tool_call>'
  const { mlx } = await scripted([{ match: 'Add', text }])
  const asked = { model: mlx, prompt: 'Add', tools: { add: ADD } }
  const answer = await generateText(asked)
  expect([answer.text, answer.toolCalls, answer.finishReason]).toEqual([text, [], 'stop'])
  expect(answer.warnings).toEqual([{ type: 'other', message: expect.stringContaining('a tool call') }])
  const stream = streamText(asked)
  const types: string[] = []
  for await (const { type } of stream.fullStream) types.push(type)
  expect(types).not.toContain('tool-call')
  // The input of the withdrawn call ends before its characters begin as text.
  expect(types.indexOf('tool-input-end')).toBeGreaterThan(types.indexOf('tool-input-start'))
  expect(types.indexOf('text-start')).toBeGreaterThan(types.indexOf('tool-input-end'))
  expect([await stream.text, await stream.toolCalls]).toEqual([text, []])
  expect((await stream.providerMetadata)?.mlx.warnings).toEqual([expect.stringContaining('a tool call')])
})

test('the model reads errors about bad arguments and of a tool that throws', async () => {
  const read: string[] = []
  const { mlx } = await scripted(({ text, messages }) => {
    if (messages.at(-1)?.role === 'tool') read.push(text)
    if (read.length === 2) return { text: 'I cannot.' }
    return { toolCalls: [{ name: 'divide', arguments: read.length === 0 ? { a: 'x' } : { a: 1 } }] }
  })
  const inputSchema = jsonSchema<{ a: number }>(
    { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] },
    {
      validate: value =>
        Number.isInteger((value as { a: unknown }).a)
          ? { success: true, value: value as { a: number } }
          : { success: false, error: new Error('a must be a number') },
    },
  )
  const divide = tool({ inputSchema, execute: async (): Promise<string> => fail('by zero') })
  const { text } = await generateText({ model: mlx, prompt: 'Divide', tools: { divide }, stopWhen: isStepCount(4) })
  expect(text).toBe('I cannot.')
  expect(read).toEqual([expect.stringContaining('a must be a number'), 'Error: by zero'])
})

function fail(message: string): never {
  throw new Error(message)
}

test('a loop ends at the condition of stopWhen', async () => {
  const { mlx, engine } = await scripted(() => ({ toolCalls: [call(1, 1)] }))
  const asked = { model: mlx, prompt: 'Add', tools: { add: ADDING } }
  expect((await generateText({ ...asked, stopWhen: isStepCount(3) })).steps).toHaveLength(3)
  expect((await generateText({ ...asked, stopWhen: hasToolCall('add') })).steps).toHaveLength(1)
  expect(engine.stats().completed).toBe(4)
})

test('texts, reasoning, calls and results reach the engine; a custom part is left out, and a file is an error', async () => {
  let seen: readonly Message[] = []
  const { mlx } = await scripted(({ messages }) => {
    seen = messages
    return { text: 'Yes.' }
  })
  const result = (toolCallId: string, output: object) => ({ type: 'tool-result', toolCallId, toolName: 'add', output })
  const messages = [
    {
      role: 'user',
      content: [
        { type: 'text', text: 'One' },
        { type: 'text', text: 'two' },
      ],
    },
    {
      role: 'assistant',
      content: [
        { type: 'reasoning', text: 'Hm.' },
        { type: 'text', text: 'Let me' },
        { type: 'text', text: ' see.' },
        { type: 'custom', kind: 'other.note' },
        ...['a', 'b', 'c', 'd', 'e'].map(id => ({ type: 'tool-call', toolCallId: id, toolName: 'add', input: { id } })),
      ],
    },
    {
      role: 'tool',
      content: [
        result('a', { type: 'json', value: { sum: 1 } }),
        result('b', { type: 'error-text', value: 'it failed' }),
        result('c', { type: 'execution-denied', reason: 'not now' }),
        result('d', {
          type: 'content',
          value: [
            { type: 'text', text: 'x' },
            { type: 'text', text: 'y' },
          ],
        }),
        result('e', { type: 'error-json', value: [1] }),
      ],
    },
    { role: 'user', content: 'And?' },
  ] as ModelMessage[]
  const { warnings } = await generateText({
    model: mlx,
    system: 'Be brief.',
    messages,
    tools: { add: dynamicTool({ inputSchema: jsonSchema({}), execute: async () => 1 }) },
  })
  expect(warnings).toMatchObject([{ type: 'unsupported', feature: 'part custom' }])
  expect(seen).toMatchObject([
    { role: 'system', content: 'Be brief.' },
    {
      role: 'user',
      content: [
        { type: 'text', text: 'One' },
        { type: 'text', text: 'two' },
      ],
    },
    { role: 'assistant', content: 'Let me see.', reasoning: 'Hm.' },
    { role: 'tool', name: 'add', toolCallId: 'a', content: '{"sum":1}' },
    { role: 'tool', toolCallId: 'b', content: 'it failed' },
    { role: 'tool', toolCallId: 'c', content: 'not now' },
    { role: 'tool', toolCallId: 'd', content: 'x\ny' },
    { role: 'tool', toolCallId: 'e', content: '[1]' },
    { role: 'user', content: 'And?' },
  ])
  const calls = seen[2].toolCalls?.map(({ id, function: { name, arguments: args } }) => [id, name, args])
  expect(calls?.[0]).toEqual(['a', 'add', { id: 'a' }])
  expect(calls).toHaveLength(5)
  const picture = result('a', {
    type: 'content',
    value: [{ type: 'file', data: { type: 'data', data: 'AA==' }, mediaType: 'image/png' }],
  })
  const calling = { role: 'assistant', content: [{ type: 'tool-call', toolCallId: 'a', toolName: 'add', input: {} }] }
  const drawn = [messages[0], calling, { role: 'tool', content: [picture] }] as ModelMessage[]
  expect(await failure(generateText({ model: mlx, messages: drawn }))).toMatchObject({ functionality: 'file parts' })
})
