// /v1/messages through the client of Anthropic, on the demo model and on scripted answers, and as Claude Code asks.

import Anthropic, { APIError, BadRequestError } from '@anthropic-ai/sdk'
import type { MessageCreateParamsNonStreaming } from '@anthropic-ai/sdk/resources'
import { expect, test } from 'vitest'
import { post, type Served, SUM_SCHEMA, served, servedAs, TWO_CALLS } from './serving.js'
import { failure, M3_MAX, simulated, until, withMlx } from './support.js'

const clientOf = ({ url }: { url: string }) => new Anthropic({ baseURL: url, apiKey: 'none', maxRetries: 0 })
const QUESTION = { role: 'user' as const, content: 'What is 12 + 7?' }
const ADD = {
  name: 'add',
  description: 'Adds.',
  input_schema: { type: 'object' as const, properties: { a: { type: 'integer' } } },
}
const paramsOf = ({ model }: Served, params: object = {}): MessageCreateParamsNonStreaming => ({
  model: model.id,
  max_tokens: 300,
  messages: [QUESTION],
  ...params,
})
const ask = (server: Served, params?: object) => clientOf(server).messages.create(paramsOf(server, params))
const streamed = (server: Served, params?: object) =>
  clientOf(server).messages.stream(paramsOf(server, params)).finalMessage()

/** A message without what differs from answer to answer. */
const contentOf = ({ content, stop_reason, stop_sequence, usage }: Awaited<ReturnType<typeof ask>>) => ({
  content,
  stop_reason,
  stop_sequence,
  usage,
})

test('the demo model answers, whole and as a stream with the same content and usage', async () => {
  const server = await served(await withMlx())
  const whole = await ask(server, { system: 'You are brief.' })
  expect(whole).toMatchObject({ type: 'message', role: 'assistant', stop_reason: 'end_turn', stop_sequence: null })
  expect(whole.content).toEqual([{ type: 'text', text: expect.stringContaining('19') }])
  expect(whole.usage.input_tokens).toBeGreaterThan(10)
  expect(contentOf(await streamed(server, { system: 'You are brief.' }))).toEqual(contentOf(whole))
})

test('thinking, text and tool calls are blocks, whole and streamed alike', async () => {
  const server = await servedAs(() => TWO_CALLS)
  const whole = await ask(server, { tools: [ADD] })
  expect(whole.stop_reason).toBe('tool_use')
  expect(whole.content).toMatchObject([
    { type: 'thinking', thinking: 'Let me see' },
    { type: 'text', text: expect.stringContaining('I add.') },
    { type: 'tool_use', name: 'add', input: { a: 1 } },
    { type: 'tool_use', name: 'add', input: { a: 2 } },
  ])
  const stream = await streamed(server, { tools: [ADD], messages: [{ role: 'user', content: 'more' }] })
  const plain = (content: typeof whole.content) => content.map(block => ({ ...block, id: undefined }))
  expect(plain(stream.content)).toEqual(plain(whole.content))
})

test('the events of a stream come in order, each with its name', async () => {
  const server = await servedAs(() => ({ text: 'Hello' }))
  const response = await post(`${server.url}/v1/messages?beta=true`, { ...paramsOf(server), stream: true })
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
  const events = (await response.text()).trimEnd().split('\n\n')
  const names = events.map(event => /^event: (\w+)\ndata: \{"type":"\1"/.exec(event)?.[1])
  expect([...new Set(names)]).toEqual([
    'message_start',
    'content_block_start',
    'content_block_delta',
    'content_block_stop',
    'message_delta',
    'message_stop',
  ])
})

test('a conversation with calls, results and thinking reaches the model', async () => {
  const asked: unknown[] = []
  const server = await servedAs(({ messages }) => {
    asked.push(messages)
    return { text: 'Done' }
  })
  const call = { type: 'tool_use', id: 'abc123def', name: 'add', input: { a: 1 } }
  const result = {
    type: 'tool_result',
    tool_use_id: 'abc123def',
    content: [{ type: 'text', text: '7' }],
    is_error: true,
  }
  const thinking = { type: 'thinking', thinking: 'Hm', signature: '' }
  await ask(server, {
    system: [
      { type: 'text', text: 'x-anthropic-billing-header: cc_version=2; cch=fa690;' },
      { type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } },
    ],
    tools: [ADD],
    messages: [
      QUESTION,
      { role: 'assistant', content: [thinking, call] },
      { role: 'user', content: [result, { type: 'text', text: 'Go on' }] },
    ],
  })
  expect(asked[0]).toEqual([
    { role: 'system', content: 'Be brief.' },
    QUESTION,
    {
      role: 'assistant',
      reasoning: 'Hm',
      toolCalls: [{ id: 'abc123def', type: 'function', function: { name: 'add', arguments: { a: 1 } } }],
    },
    { role: 'tool', toolCallId: 'abc123def', content: 'Error: 7' },
    { role: 'user', content: 'Go on' },
  ])
})

test('tool_choice reaches the model, and tools of Anthropic are left out with a warning', async () => {
  const asked: unknown[] = []
  const server = await servedAs(({ params }) => {
    asked.push([params.toolChoice, params.parallelToolCalls, params.tools?.length])
    return { toolCalls: [{ name: 'add', arguments: { a: 1 } }] }
  })
  const search = { type: 'web_search_20250305', name: 'web_search' }
  await ask(server, { tools: [ADD, search], tool_choice: { type: 'any', disable_parallel_tool_use: true } })
  const { response } = await clientOf(server)
    .messages.create(paramsOf(server, { tools: [search, ADD], tool_choice: { type: 'tool', name: 'add' } }))
    .withResponse()
  expect(asked).toEqual([
    ['required', false, 1],
    [{ name: 'add' }, undefined, 1],
  ])
  expect(response.headers.get('x-mlx-serving-warning')).toBe('ignored a tool of type web_search_20250305')
})

test('an answer says which stop sequence ended it, whole and streamed', async () => {
  const server = await served(await withMlx())
  const params = { stop_sequences: ['never', '='] }
  const whole = await ask(server, params)
  expect(whole).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: '=' })
  expect(whole.content).toEqual([{ type: 'text', text: expect.not.stringContaining('=') }])
  expect(contentOf(await streamed(server, params))).toEqual(contentOf(whole))
  expect((await ask(server, { max_tokens: 2 })).stop_reason).toBe('max_tokens')
})

test('a stop sequence that arrives in parts is not in the text of a stream', async () => {
  // With tools, white space at the end of a text is held.
  const server = await servedAs(() => ({ text: 'So END\nmore' }))
  const params = { stop_sequences: ['END\n', 'more'], tools: [ADD] }
  const [whole, stream] = [await ask(server, params), await streamed(server, params)]
  expect(whole).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'END\n' })
  expect(stream).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'END\n' })
  expect(contentOf(stream)).toEqual(contentOf(whole))
  const other = { stop_sequences: ['END.'], tools: [ADD] }
  expect(contentOf(await streamed(server, other))).toEqual(contentOf(await ask(server, other)))
})

test('a last message of the assistant is continued', async () => {
  const server = await served(await withMlx())
  const begun = { role: 'assistant', content: 'Ones: 2 + 7 = 9. Tens: 1 + 0 = 1. So 12 + 7' }
  const { content } = await ask(server, { messages: [QUESTION, begun] })
  expect(content).toEqual([{ type: 'text', text: ' = 19.' }])
})

test('the engine is asked to continue a last message of the assistant, and no other', async () => {
  const asked: unknown[] = []
  const server = await servedAs(({ params }) => {
    asked.push(params.continueFinalMessage)
    return { text: 'Done' }
  })
  await ask(server, { messages: [QUESTION, { role: 'assistant', content: 'It is' }] })
  await ask(server)
  expect(asked).toEqual([true, undefined])
})

test('the schema of output_config constrains the answer', async () => {
  const server = await served(await withMlx())
  const schema = SUM_SCHEMA
  const { content } = await ask(server, { output_config: { format: { type: 'json_schema', schema } } })
  expect(content).toEqual([{ type: 'text', text: expect.stringMatching(/^\{\s*"sum"/) }])
})

test('tokens are counted as the answer counts them', async () => {
  const server = await served(await withMlx())
  const { input_tokens } = await clientOf(server).messages.countTokens({ model: 'demo', messages: [QUESTION] })
  expect(input_tokens).toBe((await ask(server)).usage.input_tokens)
})

test('wrong values are errors in the form of Anthropic that name them', async () => {
  const server = await served(await simulated())
  const wrong = [
    [{ max_tokens: undefined }, 'max_tokens'],
    [{ temperature: 2 }, 'temperature'],
    [{ messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] }, 'messages[0].content[0].type'],
    [{ tool_choice: { type: 'sometimes' } }, 'tool_choice.type'],
    [{ thinking: { type: 'deep' } }, 'thinking.type'],
    [{ messages: [] }, 'messages'],
  ] as const
  for (const [params, param] of wrong) {
    const error = await failure(ask(server, params))
    expect(error).toBeInstanceOf(BadRequestError)
    expect(error.error).toMatchObject({
      type: 'error',
      error: { type: 'invalid_request_error' },
      request_id: expect.stringMatching(/^req_/),
    })
    expect(error.message).toContain(`\`${param}\``)
  }
  expect(await failure(ask(server, { model: 'claude' }))).toMatchObject({ status: 404 })
})

test('an error in a stream is thrown by the client', async () => {
  const server = await servedAs(() => ({ text: 'Half an answer', errorAfterTokens: 3 }))
  const error = await failure(streamed(server))
  expect(error).toBeInstanceOf(APIError)
  expect(error.message).toContain('api_error')
})

test('a client that leaves its loop ends the work', async () => {
  // Takes more than 6 s, unless it is cancelled.
  const answers = () => ({ text: 'word '.repeat(1_000) })
  const server = await served(await simulated(M3_MAX, { backend: { simulated: M3_MAX, answers } }))
  const params = paramsOf(server, { max_tokens: 4_000 })
  const stream = await clientOf(server).messages.create({ ...params, stream: true })
  for await (const _ of stream) break
  await until(() => server.engine.stats().cancelled === 1)
})

test('the request of Claude Code is answered under any name of a model', async () => {
  const ready = await simulated()
  const { url } = await served(ready, { aliases: { '*': ready.model.id } })
  expect((await fetch(url, { method: 'HEAD' })).status).toBe(200)
  const response = await post(
    `${url}/v1/messages?beta=true`,
    {
      model: 'claude-sonnet-4-5',
      max_tokens: 32_000,
      stream: true,
      metadata: { user_id: 'user' },
      thinking: { type: 'adaptive' },
      context_management: { edits: [] },
      output_config: { effort: 'medium' },
      system: [{ type: 'text', text: 'You are Claude Code.', cache_control: { type: 'ephemeral' } }],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Hello', cache_control: { type: 'ephemeral' } }] },
        { role: 'system', content: 'A reminder.' },
      ],
      tools: [],
    },
    { 'anthropic-version': '2023-06-01', 'anthropic-beta': 'claude-code-20250219', authorization: 'Bearer none' },
  )
  expect(response.status).toBe(200)
  expect(response.headers.get('x-mlx-serving-warning')).toMatch(/no variable/)
  expect(await response.text()).toContain('event: message_stop')
})
