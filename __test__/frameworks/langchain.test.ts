// The chat model of LangChain: whole and streamed answers, params, tools, structured output.

import { readFile, writeFile } from 'node:fs/promises'
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
import { copiesOfDemo } from '../folders.js'
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
  // A chunk has at most three tokens, so the answer has several chunks.
  const { chat } = await demo({ streaming: { bufferTokens: 3 } })
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

test('a chain with a prompt answers a batch, and callbacks get each token of a stream', async () => {
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

test('params of the model and of a call reach the engine, and those of the call override the others', async () => {
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

test('an unknown option of a call is a warning, and options of LangChain are not', async () => {
  const { chat } = await scripted(() => ({ text: 'Hi.' }))
  const known = {
    tags: ['a'],
    metadata: {},
    runName: 'a',
    configurable: {},
    recursionLimit: 3,
    timeout: 60_000,
    maxRetries: 1,
    outputVersion: 'v0' as const,
    ls_structured_output_format: { kwargs: { method: 'jsonSchema' } },
  }
  const wrong = { ...known, temprature: 1, functions: null }
  const answersTo = async (options: object) => [
    await chat.invoke('Hi', options),
    (await joined(await chat.stream('Hi', options))).message,
  ]
  const events = await chat.streamEvents('Hi', { ...known, version: 'v3' } as typeof known)
  for (const { response_metadata } of [...(await answersTo(known)), events])
    expect(response_metadata.warnings).toBeUndefined()
  for (const { response_metadata } of await answersTo(wrong))
    expect(response_metadata.warnings).toEqual(['ignored the unknown option `temprature`'])
})

test('the number of tokens of a text or of parts is that of the model', async () => {
  const { engine } = await demo()
  // The tokenizer writes a token before each prompt, which is no token of the text.
  const { starting } = await copiesOfDemo('starting')
  const file = path.join(starting, 'tokenizer.json')
  const tokenizer = JSON.parse(await readFile(file, 'utf8'))
  tokenizer.post_processor = {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<|user|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { '<|user|>': { id: '<|user|>', ids: [3], tokens: ['<|user|>'] } },
  }
  await writeFile(file, JSON.stringify(tokenizer))
  const chat = new ChatMlx({ engine, model: starting })
  const text = 'What is the capital of France?'
  expect((await engine.tokenize({ model: await engine.loadModel(starting), text })).length).toBe(14)
  expect(await chat.getNumTokens(text)).toBe(13)
  const parts = [
    { type: 'text', text: 'What is the capital' },
    { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } },
    { type: 'text', text: ' of France?' },
  ]
  expect(await chat.getNumTokens(parts)).toBe(13)
  expect(await chat.getNumTokens('')).toBe(0)
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

test('the error about a wrong option names it', async () => {
  const make = (fields: object) => failure((async () => new ChatMlx(fields))())
  expect(await make({ temprature: 1 })).toMatchObject({ code: 'InvalidParams', param: 'temprature' })
  expect(await make({ engine: {} })).toMatchObject({ code: 'ConfigError', param: 'engine' })
  expect(await make({ model: 5 })).toMatchObject({ code: 'InvalidParams', param: 'model' })
})

test('a loop of tools has reasoning and parallel calls, and their results are in the prompt', async () => {
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

test('structured output is an enforced text, or an enforced call', async () => {
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

test('the response format of a call is enforced, and a wrong one is an error', async () => {
  const { chat } = await demo()
  const schema = { ...z.toJSONSchema(SUM), name: 'sum' }
  const response_format = { type: 'json_schema' as const, json_schema: { name: 'sum', schema } }
  const { text } = await chat.invoke('What is 12 + 7?', { response_format })
  expect(SUM.parse(JSON.parse(text))).toEqual({ sum: expect.any(Number) })
  const asked: ScriptedRequest['params'][] = []
  const { chat: script } = await scripted(({ params }) => {
    asked.push(params)
    return { text: '{}' }
  })
  await script.invoke('Hi', { response_format: { type: 'json_object' } })
  await script.invoke('Hi', { response_format: { type: 'text' } })
  expect(asked.map(({ structured }) => structured)).toEqual([{ schema: { type: 'object' } }, undefined])
  for (const wrong of ['json', { type: 'xml' }, { type: 'json_schema' }, { type: 'json_schema', json_schema: {} }]) {
    const error = await failure(chat.invoke('Hi', { response_format: wrong as never }))
    expect([error.code, error.param]).toEqual(['InvalidParams', expect.stringMatching(/^response_format/)])
  }
  const both = chat.invoke('Hi', { response_format, structured: { regex: 'a' } })
  expect(await failure(both)).toMatchObject({ code: 'InvalidParams', param: 'response_format' })
})

test('stop sequences do not cut an answer whose form is enforced', async () => {
  const { engine } = await demo()
  const model = { id: 'with-tools', toolPrompt: 'hermes' as const }
  const chat = new ChatMlx({ engine, model, stopSequences: ['"'] })
  const warnings = ['ignored stop sequences: they would cut an answer whose form is enforced']
  const { parsed, raw } = await chat.withStructuredOutput(SUM, { includeRaw: true }).invoke('What is 12 + 7?')
  expect(parsed).toEqual({ sum: expect.any(Number) })
  expect(raw.response_metadata).toMatchObject({ warnings })
  for (const tool_choice of ['any', 'add', { type: 'function' as const, function: { name: 'add' } }]) {
    const answer = await chat.bindTools([add], { tool_choice }).invoke('What is 12 + 7?', { stop: ['{'] })
    expect([answer.tool_calls?.[0].name, answer.response_metadata.warnings]).toEqual(['add', warnings])
  }
  const { response_metadata } = await chat.bindTools([add], { tool_choice: 'none' }).invoke('What is 12 + 7?')
  expect(response_metadata.warnings).toBeUndefined()
})

test('a schema may have a name, or be the parameters of a function', async () => {
  const { engine } = await demo()
  const chat = new ChatMlx({ engine, model: { id: 'with-tools', toolPrompt: 'hermes' } })
  const schema = z.toJSONSchema(z.object({ name: z.enum(['Ann', 'Bob']) }).strict()) as Record<string, unknown>
  const forms = [
    { name: 'person', title: 'Person', description: 'A person.', ...schema },
    { name: 'person', description: 'A person.', parameters: schema },
  ]
  for (const form of forms) {
    for (const method of ['jsonSchema', 'functionCalling']) {
      const model = chat.withStructuredOutput(form, { method, includeRaw: true })
      const { parsed, raw } = await model.invoke('Who are you?')
      expect(['Ann', 'Bob']).toContain(parsed.name)
      const calls = (raw as AIMessage).tool_calls?.map(({ name }) => name)
      expect(calls).toEqual(method === 'functionCalling' ? ['person'] : [])
    }
  }
})

test('reasoning is among the content blocks of an answer, whole and streamed', async () => {
  const { chat } = await scripted(() => ({
    reasoning: 'I add.',
    text: 'Wait.',
    toolCalls: [{ name: 'add', arguments: { a: 1, b: 2 } }],
  }))
  const model = chat.bindTools([add])
  const blocks = [
    { type: 'reasoning', reasoning: 'I add.' },
    { type: 'text', text: 'Wait.' },
    { type: 'tool_call', id: expect.any(String), name: 'add', args: { a: 1, b: 2 } },
  ]
  expect((await model.invoke('Hi')).contentBlocks).toEqual(blocks)
  expect((await joined(await model.stream('Hi'))).message.contentBlocks).toEqual(blocks)
  expect((await model.invoke('Hi', { outputVersion: 'v1' })).content).toEqual(blocks)
  // LangChain does not join blocks of different chunks.
  const { content, tool_calls } = (await joined(await model.stream('Hi', { outputVersion: 'v1' }))).message
  const parts = (type: string) => (content as Record<string, unknown>[]).filter(block => block.type === type)
  const text = (type: string) =>
    parts(type)
      .map(block => block[type])
      .join('')
  expect([text('reasoning'), text('text'), parts('tool_call'), tool_calls]).toEqual([
    'I add.',
    'Wait.',
    [blocks[2]],
    [blocks[2]],
  ])
  const events = chat.streamEvents('Hi', { tools: [{ type: 'function', function: { name: 'add' } }] })
  expect([await events.reasoning, await events.text, await events.toolCalls]).toEqual(['I add.', 'Wait.', [blocks[2]]])
  const types = new Set<string>()
  for await (const chunk of await model.stream('Hi')) for (const { type } of chunk.contentBlocks) types.add(type)
  expect(types).toEqual(new Set(['reasoning', 'text', 'tool_call']))
})

test('an answer of another provider is read: its thinking is reasoning, and unknown blocks are left out', async () => {
  let seen: readonly Message[] = []
  const { chat } = await scripted(({ messages }) => {
    seen = messages
    return { text: 'Yes.' }
  })
  const content = [
    { type: 'thinking', thinking: 'Hm.', signature: 'abc' },
    { type: 'redacted_thinking', data: 'abc' },
    { type: 'non_standard', value: { type: 'citation' } },
    { type: 'text', text: 'One.' },
    { type: 'tool_use', id: 'a', name: 'add', input: {} },
  ]
  const call = { id: 'a', name: 'add', args: {} }
  const result = new ToolMessage({ tool_call_id: 'a', content: '1' })
  await chat.invoke([new HumanMessage('Hi'), new AIMessage({ content, tool_calls: [call] }), result])
  expect(seen[1]).toMatchObject({ role: 'assistant', content: 'One.', reasoning: 'Hm.', toolCalls: [{ id: 'a' }] })
  for (const message of [
    new HumanMessage({ content: [{ type: 'non_standard', value: {} }] }),
    new ToolMessage({ tool_call_id: 'a', content: [{ type: 'image', url: 'https://example.com/a.png' }] }),
  ])
    expect(await failure(chat.invoke([message]))).toMatchObject({ code: 'InvalidParams', param: 'messages.0' })
})

test('text parts of a message are joined or kept, and images are refused', async () => {
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
  // Both use the default engine.
  const engine = await mlx.engine()
  onTestFinished(() => engine.dispose())
  expect(await own.engine()).toBe(engine)
  expect(await new ChatMlx().engine()).toBe(engine)
  const [one, other] = await Promise.all(
    ['ts', 'mts'].map(type => readFile(path.join(ROOT, `langchain.d.${type}`), 'utf8')),
  )
  expect(one).toBe(other)
})
