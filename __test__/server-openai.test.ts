// /v1/chat/completions and /v1/models through the client of OpenAI, on the demo model and on scripted answers.

import OpenAI, { APIError, APIUserAbortError, BadRequestError, NotFoundError } from 'openai'
import type { ChatCompletionCreateParamsNonStreaming } from 'openai/resources'
import { expect, test } from 'vitest'
import { type Served, SUM_SCHEMA, served, servedAs } from './serving.js'
import { failure, M3_MAX, simulated, until, withMlx } from './support.js'

const clientOf = ({ url }: { url: string }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
const QUESTION = { role: 'user', content: 'What is 12 + 7?' } as const
const ADD = {
  type: 'function',
  function: { name: 'add', parameters: { type: 'object', properties: { a: { type: 'integer' } } } },
} as const
const ask = (served: Served, params: Partial<ChatCompletionCreateParamsNonStreaming> = {}) =>
  clientOf(served).chat.completions.create({ model: served.model.id, messages: [QUESTION], ...params })

test('the demo model gives the same text and usage, whole and as a stream', async () => {
  const server = await served(await withMlx())
  const whole = await ask(server)
  expect(whole.choices[0].message.content).toContain('19')
  expect(whole.choices[0].finish_reason).toBe('stop')
  expect(whole.usage?.total_tokens).toBe(whole.usage!.prompt_tokens + whole.usage!.completion_tokens)
  const params = { model: 'demo', messages: [QUESTION], stream_options: { include_usage: true } }
  const stream = clientOf(server).chat.completions.stream(params)
  const completion = await stream.finalChatCompletion()
  expect(completion.choices[0].message.content).toBe(whole.choices[0].message.content)
  expect(completion.usage).toEqual(whole.usage)
})

test('a stream has chunks as clients expect them, and usage only on request', async () => {
  const server = await servedAs(() => ({ text: 'Hello there' }))
  const chunksOf = async (options?: { include_usage: boolean }) => {
    const stream = await clientOf(server).chat.completions.create({
      model: server.model.id,
      messages: [QUESTION],
      stream: true,
      ...(options && { stream_options: options }),
    })
    const chunks = []
    for await (const chunk of stream) chunks.push(chunk)
    return chunks
  }
  const plain = await chunksOf()
  expect(plain[0].choices[0].delta).toEqual({ role: 'assistant', content: '' })
  expect(plain.map(({ choices }) => choices[0].delta.content ?? '').join('')).toBe('Hello there')
  expect(plain.at(-1)?.choices[0].finish_reason).toBe('stop')
  expect(plain.every(({ id, object }) => id === plain[0].id && object === 'chat.completion.chunk')).toBe(true)
  expect(plain.some(chunk => 'usage' in chunk)).toBe(false)
  const counted = await chunksOf({ include_usage: true })
  expect(counted.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: expect.any(Number) } })
  expect(counted.slice(0, -1).every(({ usage }) => usage === null)).toBe(true)
})

test('tool calls are returned, whole and streamed, and the model reads their results', async () => {
  const server = await servedAs(({ messages }) =>
    messages.at(-1)?.role === 'tool'
      ? { text: `It is ${messages.at(-1)?.content}.` }
      : {
          toolCalls: [
            { name: 'add', arguments: { a: 1 } },
            { name: 'add', arguments: { a: 2 } },
          ],
        },
  )
  const whole = await ask(server, { tools: [ADD] })
  const [{ message, finish_reason }] = whole.choices
  expect(finish_reason).toBe('tool_calls')
  expect(message.content).toBe(null)
  const calls = message.tool_calls?.map(call => call.type === 'function' && call.function)
  expect(calls).toEqual([
    { name: 'add', arguments: '{"a":1}' },
    { name: 'add', arguments: '{"a":2}' },
  ])
  const stream = clientOf(server).chat.completions.stream({
    model: server.model.id,
    messages: [{ role: 'user', content: 'again' }],
    tools: [ADD],
  })
  const streamed = (await stream.finalChatCompletion()).choices[0]
  expect(streamed.finish_reason).toBe('tool_calls')
  expect(streamed.message.tool_calls?.map(call => call.type === 'function' && call.function)).toMatchObject(calls!)
  const result = { role: 'tool', tool_call_id: message.tool_calls![1].id, content: '19' } as const
  const last = await ask(server, { messages: [QUESTION, message, result], tools: [ADD] })
  expect(last.choices[0].message.content).toBe('It is 19.')
})

test('tool_choice and parallel_tool_calls reach the model', async () => {
  const asked: unknown[] = []
  const server = await servedAs(({ params }) => {
    asked.push([params.toolChoice, params.parallelToolCalls])
    return { toolCalls: [{ name: 'add', arguments: { a: 1 } }] }
  })
  const named = { type: 'function', function: { name: 'add' } } as const
  await ask(server, { tools: [ADD], tool_choice: named, parallel_tool_calls: false })
  await ask(server, { tools: [ADD], tool_choice: 'required' })
  expect(asked).toEqual([
    [{ name: 'add' }, false],
    ['required', undefined],
  ])
})

test('reasoning is separate from the text', async () => {
  const server = await servedAs(() => ({ reasoning: 'Let me think', text: 'Done' }))
  const { choices } = await ask(server)
  expect(choices[0].message).toMatchObject({ content: 'Done', reasoning_content: 'Let me think' })
  const stream = await clientOf(server).chat.completions.create({
    model: server.model.id,
    messages: [{ role: 'user', content: 'more' }],
    stream: true,
  })
  let reasoning = ''
  for await (const { choices } of stream) {
    reasoning += (choices[0].delta as { reasoning_content?: string }).reasoning_content ?? ''
  }
  expect(reasoning).toBe('Let me think')
})

test('response_format makes the demo model answer with JSON of a schema', async () => {
  const server = await served(await withMlx())
  const schema = SUM_SCHEMA
  const format = { type: 'json_schema', json_schema: { name: 'sum', schema, strict: true } } as const
  const { choices } = await ask(server, { response_format: format })
  expect(JSON.parse(choices[0].message.content!)).toEqual({ sum: expect.any(Number) })
  // Other servers take stop sequences beside a schema.
  expect((await ask(server, { response_format: format, stop: ['"'] })).choices[0].message).toEqual(choices[0].message)
  const any = await ask(server, { response_format: { type: 'json_object' }, max_tokens: 200 })
  expect(any.choices[0].message.content).toMatch(/^\{/)
})

test('n, seed, stop, limits and logprobs have their effect', async () => {
  const server = await served(await withMlx())
  const sampled = { n: 3, seed: 5, temperature: 1, max_completion_tokens: 8 }
  const [first, second] = [await ask(server, sampled), await ask(server, sampled)]
  expect(first.choices.map(({ index }) => index)).toEqual([0, 1, 2])
  expect(second.choices.map(({ message }) => message)).toEqual(first.choices.map(({ message }) => message))
  expect(first.usage?.completion_tokens).toBeGreaterThan(8)
  const limited = await ask(server, { max_tokens: 2 })
  expect(limited.choices[0].finish_reason).toBe('length')
  const stopped = await ask(server, { stop: '=' })
  expect(stopped.choices[0].message.content).not.toContain('=')
  // The most probable token alone: greedy, whatever the temperature is.
  const greedy = (await ask(server)).choices[0].message
  expect((await ask(server, { top_p: 0, temperature: 2 })).choices[0].message).toEqual(greedy)
  expect(server.engine.stats().recoveries).toBe(0)
  const { logprobs } = (await ask(server, { logprobs: true, top_logprobs: 2 })).choices[0]
  expect(logprobs?.content?.[0].top_logprobs).toHaveLength(2)
  expect(logprobs?.content?.map(({ token }) => token).join('')).toContain('19')
})

test('benchmarks get answers of one length with ignore_eos or min_tokens, as from other servers', async () => {
  const server = await served(await withMlx())
  const tokensOf = async (params: object) => (await ask(server, params)).usage?.completion_tokens
  const usual = (await tokensOf({ max_tokens: 60 })) ?? 0
  expect(usual).toBeLessThan(60)
  expect(await tokensOf({ max_tokens: 60, ignore_eos: true })).toBe(60)
  expect(await tokensOf({ max_tokens: 60, min_tokens: usual + 5 })).toBeGreaterThan(usual)
})

test('max_tokens beyond the context is cut to the room that the prompt leaves', async () => {
  const server = await served(await withMlx())
  const { choices } = await ask(server, { max_tokens: 1_000_000 })
  expect(choices[0].message.content).toContain('19')
  // The server counts the prompt first, so the engine refuses nothing.
  expect(server.engine.stats()).toMatchObject({ submitted: 1, completed: 1 })
  const tooLong = ask(server, { messages: [{ role: 'user', content: 'word '.repeat(3000) }] })
  expect(await failure(tooLong)).toMatchObject({ status: 400, code: 'context_length_exceeded' })
})

test('the server option maxTokens limits every answer', async () => {
  const server = await served(await withMlx(), { maxTokens: 3 })
  for (const params of [{}, { max_tokens: 100 }]) {
    expect((await ask(server, params)).usage?.completion_tokens).toBe(3)
  }
})

test('unknown models and wrong values are errors that name them', async () => {
  const server = await served(await simulated())
  expect(await failure(ask(server, { model: 'gpt' }))).toBeInstanceOf(NotFoundError)
  const wrong = [
    [{ temperature: 3 }, 'temperature'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ n: 0 }, 'n'],
    [{ tool_choice: 'sometimes' }, 'tool_choice'],
    [{ tool_choice: 'required' }, 'tool_choice'],
    [{ response_format: { type: 'xml' } }, 'response_format.type'],
    [{ messages: [] }, 'messages'],
    [{ messages: [{ role: 'robot', content: 'x' }] }, 'messages[0].role'],
    [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] }, 'messages[0].content[0].type'],
    [{ modalities: ['audio'] }, 'modalities'],
    [{ functions: [] }, 'functions'],
  ] as const
  for (const [params, param] of wrong) {
    const error = await failure(ask(server, params as object))
    expect(error).toBeInstanceOf(BadRequestError)
    expect(error).toMatchObject({ param, type: 'invalid_request_error' })
  }
  expect(server.engine.stats().submitted).toBe(0)
})

test('unknown fields are ignored, and a header says so', async () => {
  const server = await served(await simulated())
  const request = ask(server, { user: 'me', frobnicate: 1, 'x\ny': 2 } as object)
  const { response } = await request.withResponse()
  expect(response.headers.get('x-mlx-serving-warning')).toBe('ignored fields: frobnicate, x?y')
})

test('the client delivers the text before an error in a stream, and then throws the error', async () => {
  const server = await servedAs(() => ({ text: 'Half an answer', errorAfterTokens: 3 }))
  const stream = await clientOf(server).chat.completions.create({
    model: server.model.id,
    messages: [QUESTION],
    stream: true,
  })
  let text = ''
  const reading = (async () => {
    for await (const { choices } of stream) text += choices[0].delta.content ?? ''
  })()
  expect(await failure(reading)).toBeInstanceOf(APIError)
  expect('Half an answer'.startsWith(text)).toBe(true)
})

test('a client that aborts or leaves its loop cancels its request', async () => {
  const server = await served(await simulated(M3_MAX))
  const params = { model: 'demo', messages: [QUESTION], max_tokens: 2000, ignore_eos: true }
  for await (const _ of await clientOf(server).chat.completions.create({ ...params, stream: true })) break
  await until(() => server.engine.stats().cancelled === 1)
  const controller = new AbortController()
  const whole = clientOf(server).chat.completions.create(params, { signal: controller.signal })
  await until(() => server.engine.stats().running === 1)
  controller.abort()
  expect(await failure(whole)).toBeInstanceOf(APIUserAbortError)
  await until(() => server.engine.stats().cancelled === 2)
})

test('a client that gets 429 retries after the time in the header, and gets its answer', async () => {
  const server = await served(await simulated(M3_MAX, { scheduler: { maxPending: 1 } }))
  const statuses: number[] = []
  const client = new OpenAI({
    baseURL: `${server.url}/v1`,
    apiKey: 'none',
    maxRetries: 5,
    fetch: async (input, init) => {
      const response = await fetch(input, init)
      statuses.push(response.status)
      if (response.status === 429) expect(Number(response.headers.get('retry-after-ms'))).toBeGreaterThan(0)
      return response
    },
  })
  const create = (content: string) =>
    client.chat.completions.create({ model: 'demo', messages: [{ role: 'user', content }], max_tokens: 20 })
  // The engine measures how long an answer takes, so that the time in the header is short.
  await create('One')
  const { engine, model } = server
  const running = engine.generate({ model, prompt: 'Tell me everything.', ignoreEos: true, maxTokens: 2000 })
  const answer = create('Two')
  await until(() => statuses.includes(429))
  running.cancel()
  expect((await answer).choices[0].message.content).not.toBe('')
  expect([statuses[0], statuses[1], statuses.at(-1)]).toEqual([200, 429, 200])
})

test('models are listed and described', async () => {
  const server = await served(await simulated())
  const { data } = await clientOf(server).models.list()
  expect(data.map(({ id }) => id)).toEqual([server.model.id])
  expect(await clientOf(server).models.retrieve(server.model.id)).toMatchObject({
    id: server.model.id,
    object: 'model',
  })
  expect(await failure(clientOf(server).models.retrieve('other'))).toBeInstanceOf(NotFoundError)
})

test('a registered model is listed, and loaded by the first request for it', async () => {
  const { engine, model } = await simulated()
  const server = await served({ engine, model })
  await engine.registerModel({ id: 'later', chatTemplate: '{{ messages[0].content }}' })
  const listed = async () => (await clientOf(server).models.list()).data.map(({ id }) => id)
  expect(await listed()).toEqual([model.id, 'later'])
  expect(engine.getModelInfo('later')).toBe(undefined)
  expect((await ask(server, { model: 'later' })).choices[0].message.content).not.toBe('')
  await engine.unloadModel('later')
  expect(await listed()).toEqual([model.id, 'later'])
  expect((await ask(server, { model: 'later' })).model).toBe('later')
  expect(engine.getModelInfo('later')?.loads).toBe(2)
})

test('an alias names a loaded model, and the alias * applies to all other names', async () => {
  const { engine, model } = await simulated()
  const some = await served({ engine, model }, { aliases: { 'gpt-4o': model.id } })
  expect((await ask(some, { model: 'gpt-4o' })).model).toBe('gpt-4o')
  await expect(ask(some, { model: 'other' })).rejects.toThrow('404')
  const all = await served({ engine, model }, { aliases: { '*': model.id } })
  expect((await ask(all, { model: 'other' })).model).toBe('other')
})
