// /v1/responses through the client of OpenAI, on the demo model and on scripted answers, and as Codex calls it.

import OpenAI, { BadRequestError } from 'openai'
import type { ResponseCreateParamsNonStreaming } from 'openai/resources/responses/responses'
import { expect, test } from 'vitest'
import { post, refusalOf, type Served, SUM_SCHEMA, served, servedAs, TWO_CALLS } from './serving.js'
import { failure, M3_MAX, simulated, until, withMlx } from './support.js'

const clientOf = ({ url }: { url: string }, apiKey = 'none') =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })
const ADD = { type: 'function' as const, name: 'add', parameters: { type: 'object' }, strict: false }
const paramsOf = ({ model }: Served, params: object = {}): ResponseCreateParamsNonStreaming => ({
  model: model.id,
  input: 'What is 12 + 7?',
  ...params,
})
const ask = (server: Served, params?: object) => clientOf(server).responses.create(paramsOf(server, params))
/** Builds the response from the events of a stream, as the client does. */
const streamed = (server: Served, params: object = {}) =>
  clientOf(server)
    .responses.stream({ ...paramsOf(server, params), stream: true })
    .finalResponse()

/** The items of an output without their ids. */
const plain = (output: Awaited<ReturnType<typeof ask>>['output']) =>
  output.map(item => ({ ...item, id: undefined, call_id: undefined }))

test('the demo model gives the same output and usage, whole and as a stream', async () => {
  const server = await served(await withMlx())
  const whole = await ask(server, { instructions: 'Be brief.', metadata: { a: 'b' } })
  expect(whole).toMatchObject({ object: 'response', status: 'completed', error: null, metadata: { a: 'b' } })
  expect(whole.output_text).toContain('19')
  const stream = await streamed(server, { instructions: 'Be brief.' })
  expect(stream.output_text).toBe(whole.output_text)
  expect(stream.usage).toEqual(whole.usage)
  expect(stream.status).toBe('completed')
})

test('reasoning, text and tool calls are items, whole and streamed alike', async () => {
  const server = await servedAs(() => TWO_CALLS)
  const whole = await ask(server, { tools: [ADD] })
  expect(whole.output).toMatchObject([
    { type: 'reasoning', content: [{ type: 'reasoning_text', text: 'Let me see' }] },
    { type: 'message', role: 'assistant', content: [{ type: 'output_text' }] },
    { type: 'function_call', name: 'add', arguments: '{"a":1}', call_id: expect.stringMatching(/^\w{9}$/) },
    { type: 'function_call', name: 'add', arguments: '{"a":2}' },
  ])
  const stream = await streamed(server, { tools: [ADD], input: 'more' })
  const comparable = (output: typeof whole.output) =>
    plain(output).map(item => ({ ...item, parsed_arguments: undefined }))
  expect(comparable(stream.output).length).toBe(4)
  expect(stream.output_text).toBe(whole.output_text)
  expect(comparable(stream.output)[3]).toMatchObject({ arguments: '{"a":2}', status: 'completed' })
})

test('the events of a stream are numbered, named, and in the order that clients need', async () => {
  const server = await servedAs(() => ({ text: 'Hello' }))
  const response = await post(`${server.url}/v1/responses`, { ...paramsOf(server), stream: true })
  const events = (await response.text()).trimEnd().split('\n\n')
  const parsed = events.map(event => {
    const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event)!
    return { name, data: JSON.parse(data) }
  })
  expect(parsed.map(({ data }) => data.sequence_number)).toEqual(parsed.map((_, index) => index))
  for (const { name, data } of parsed) expect(data.type).toBe(name)
  expect([...new Set(parsed.map(({ name }) => name))]).toEqual([
    'response.created',
    'response.in_progress',
    'response.output_item.added',
    'response.content_part.added',
    'response.output_text.delta',
    'response.output_text.done',
    'response.content_part.done',
    'response.output_item.done',
    'response.completed',
  ])
})

test('a response continues an earlier one, with its calls, and without its instructions', async () => {
  const asked: unknown[] = []
  const server = await servedAs(({ messages }) => {
    asked.push(messages)
    return messages.some(({ role }) => role === 'tool')
      ? { text: 'Seven.' }
      : { toolCalls: [{ name: 'add', arguments: { a: 1 } }] }
  })
  const first = await ask(server, { tools: [ADD], instructions: 'One.' })
  const call = first.output[0]
  if (call.type !== 'function_call') throw new Error('no call')
  const output = { type: 'function_call_output', call_id: call.call_id, output: '7' }
  const second = await ask(server, {
    previous_response_id: first.id,
    input: [output],
    tools: [ADD],
    instructions: 'Two.',
  })
  expect(second.output_text).toBe('Seven.')
  const turns = [
    { role: 'user', content: 'What is 12 + 7?' },
    { role: 'assistant', toolCalls: [{ id: call.call_id, function: { name: 'add' } }] },
    { role: 'tool', toolCallId: call.call_id, content: '7' },
  ]
  expect(asked[1]).toMatchObject([{ role: 'system', content: 'Two.' }, ...turns])
  await ask(server, { previous_response_id: second.id, input: 'Sure?' })
  expect(asked[2]).toMatchObject([
    ...turns,
    { role: 'assistant', content: 'Seven.' },
    { role: 'user', content: 'Sure?' },
  ])
})

test('a streamed response is kept too, can be read and deleted, and is not kept with store: false', async () => {
  const server = await servedAs(() => ({ text: 'Hello' }))
  const client = clientOf(server)
  const { id } = await streamed(server)
  expect(await client.responses.retrieve(id)).toMatchObject({ id, status: 'completed', output_text: 'Hello' })
  await client.responses.delete(id)
  const unstored = await ask(server, { store: false })
  for (const gone of [id, unstored.id, 'resp_none']) {
    expect(await failure(client.responses.retrieve(gone))).toMatchObject({ status: 404 })
    const error = await failure(ask(server, { previous_response_id: gone }))
    expect(error).toMatchObject({ status: 400, code: 'previous_response_not_found' })
  }
})

test('kept responses are bounded by number and by bytes, and belong to a tenant', async () => {
  const { engine, model } = await servedAs(() => ({ text: 'Hello' }))
  const few = await served({ engine, model }, { responses: { maxEntries: 2 } })
  const ids: string[] = []
  for (let n = 0; n < 3; n++) ids.push((await ask(few)).id)
  const isKept = async (server: Served, id: string, key?: string) =>
    clientOf(server, key)
      .responses.retrieve(id)
      .then(
        () => true,
        () => false,
      )
  expect(await Promise.all(ids.map(id => isKept(few, id)))).toEqual([false, true, true])
  const small = await served({ engine, model }, { responses: { maxBytes: 100 } })
  expect(await isKept(small, (await ask(small)).id)).toBe(false)
  const keyed = await served({ engine, model }, { keys: ['one', 'two'] })
  const { id } = await clientOf(keyed, 'one').responses.create(paramsOf(keyed))
  expect([await isKept(keyed, id, 'one'), await isKept(keyed, id, 'two')]).toEqual([true, false])
})

test('input items are the messages of a conversation', async () => {
  const asked: unknown[] = []
  const server = await servedAs(({ messages }) => {
    asked.push(messages)
    return { text: 'Done' }
  })
  const input = [
    { role: 'developer', content: [{ type: 'input_text', text: 'Be brief.' }] },
    { type: 'message', role: 'user', content: 'Add' },
    { type: 'reasoning', id: 'rs_0', summary: [{ type: 'summary_text', text: 'So' }] },
    { type: 'reasoning', id: 'rs_1', summary: [], content: [{ type: 'reasoning_text', text: 'Hm' }] },
    { type: 'function_call', call_id: 'c1', name: 'add', arguments: '{"a":1}' },
    { type: 'function_call', call_id: 'c2', name: 'add', arguments: '' },
    { type: 'function_call_output', call_id: 'c1', output: [{ type: 'input_text', text: '1' }] },
    { type: 'function_call_output', call_id: 'c2', output: '2' },
    {
      type: 'message',
      id: 'msg_1',
      role: 'assistant',
      status: 'completed',
      content: [{ type: 'output_text', text: 'Three' }],
    },
    { role: 'user', content: 'Thanks' },
  ]
  await ask(server, { input, tools: [ADD] })
  expect(asked[0]).toMatchObject([
    { role: 'system' },
    { role: 'user', content: 'Add' },
    {
      role: 'assistant',
      reasoning: 'So\n\nHm',
      toolCalls: [{ id: 'c1' }, { id: 'c2', function: { arguments: '{}' } }],
    },
    { role: 'tool', toolCallId: 'c1' },
    { role: 'tool', toolCallId: 'c2', content: '2' },
    { role: 'assistant' },
    { role: 'user', content: 'Thanks' },
  ])
})

test('text.format, limits and log-probabilities have their effect', async () => {
  const server = await served(await withMlx())
  const schema = SUM_SCHEMA
  const format = { type: 'json_schema', name: 'sum', schema, strict: true }
  expect(JSON.parse((await ask(server, { text: { format } })).output_text)).toEqual({ sum: expect.any(Number) })
  const cut = await ask(server, { max_output_tokens: 2 })
  expect(cut).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } })
  expect((await streamed(server, { max_output_tokens: 2 })).status).toBe('incomplete')
  const params = { include: ['message.output_text.logprobs'], top_logprobs: 2 }
  for (const { output } of [await ask(server, params), await streamed(server, params)]) {
    const [item] = output
    const part = item.type === 'message' && item.content[0]
    const logprobs = part && part.type === 'output_text' ? part.logprobs : undefined
    expect(logprobs?.map(({ token }) => token).join('')).toContain('19')
    expect(logprobs?.[0].top_logprobs).toHaveLength(2)
  }
})

test('wrong values are errors that name them', async () => {
  const server = await served(await simulated())
  const wrong = [
    [{ input: undefined }, 'input'],
    [{ input: [] }, 'input'],
    [{ input: [{ type: 'item_reference', id: 'x' }] }, 'input[0].type'],
    [{ input: [{ role: 'user', content: [{ type: 'input_image' }] }] }, 'input[0].content[0].type'],
    [{ input: [{ type: 'function_call', call_id: 'a', name: 'b', arguments: '[' }] }, 'input[0].arguments'],
    [{ background: true }, 'background'],
    [{ truncation: 'auto' }, 'truncation'],
    [{ conversation: 'conv_1' }, 'conversation'],
    [{ max_output_tokens: 0 }, 'max_output_tokens'],
    [{ reasoning: { effort: 'enormous' } }, 'reasoning.effort'],
    [{ text: { format: { type: 'xml' } } }, 'text.format.type'],
  ] as const
  for (const [params, param] of wrong) {
    const error = await failure(ask(server, params))
    expect(error).toBeInstanceOf(BadRequestError)
    expect(error).toMatchObject({ param })
  }
})

test('an answer that fails ends its stream with response.failed', async () => {
  const server = await servedAs(() => ({ text: 'Half an answer', errorAfterTokens: 3 }))
  const stream = await clientOf(server).responses.create({ ...paramsOf(server), stream: true })
  const events = []
  for await (const event of stream) events.push(event)
  expect(events.at(-1)).toMatchObject({
    type: 'response.failed',
    response: { status: 'failed', error: { code: 'server_error' } },
  })
})

test('a client that leaves its loop cancels its request', async () => {
  // The fourth step takes one second longer, so the answer still runs when the client leaves.
  const backend = { simulated: M3_MAX, faults: [{ step: 3, kind: 'stall', ms: 1_000 } as const] }
  const server = await served(await simulated(M3_MAX, { backend }))
  for await (const _ of await clientOf(server).responses.create({ ...paramsOf(server), stream: true })) break
  await until(() => server.engine.stats().cancelled === 1)
})

test('a request as Codex sends it is answered, and the list of models has the form that Codex reads', async () => {
  const server = await servedAs(() => ({ toolCalls: [{ name: 'shell', arguments: { command: ['ls'] } }] }))
  const shell = { type: 'function', name: 'shell', strict: false, parameters: { type: 'object' } }
  const response = await post(`${server.url}/v1/responses`, {
    model: server.model.id,
    instructions: 'You are Codex.',
    input: [
      { type: 'message', role: 'developer', content: [{ type: 'input_text', text: 'Permissions.' }] },
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'List the files.' }] },
    ],
    tools: [shell, { type: 'custom', name: 'apply_patch', format: { type: 'grammar' } }, { type: 'web_search' }],
    tool_choice: 'auto',
    parallel_tool_calls: true,
    reasoning: { effort: 'medium', summary: 'auto' },
    store: false,
    stream: true,
    include: ['reasoning.encrypted_content'],
    prompt_cache_key: 'session',
    client_metadata: { origin: 'cli' },
  })
  expect(response.status).toBe(200)
  expect(response.headers.get('x-mlx-serving-warning')).toContain('ignored a tool of type custom')
  const text = await response.text()
  expect(text).toMatch(
    /event: response\.output_item\.done\ndata: .*"name":"shell","arguments":"\{\\"command\\":\[\\"ls\\"\]\}"/,
  )
  expect(text).toContain('event: response.completed')
  const listed = await (await fetch(`${server.url}/v1/models`)).json()
  expect(listed).toMatchObject({ data: expect.any(Array), models: [] })
})

test('an unknown response is not found', async () => {
  const { url } = await served(await simulated())
  expect(await refusalOf(await fetch(`${url}/v1/responses/resp_1`))).toMatchObject({ status: 404 })
})

test('log-probabilities are the same, whole and streamed, also of tokens without text of their own', async () => {
  const server = await servedAs(() => ({ reasoning: 'Hm', text: 'A 🦀  and\n\nmore ' }))
  const params = { include: ['message.output_text.logprobs'] }
  const tokensOf = ({ output }: Awaited<ReturnType<typeof ask>>) =>
    output
      .flatMap(item => (item.type === 'message' ? item.content : []))
      .map(part => 'logprobs' in part && part.logprobs?.map(({ token }) => token))
  const whole = tokensOf(await ask(server, params))
  expect(whole).toEqual([expect.arrayContaining(['A'])])
  expect(tokensOf(await streamed(server, params))).toEqual(whole)
})
