// The API of Ollama through its client, on the demo model and on scripted answers.

import { Ollama } from 'ollama'
import { expect, test } from 'vitest'
import { post, type Served, SUM_SCHEMA, served, servedAs, TWO_CALLS } from '../serving.js'
import { longAnswer, M3_MAX, simulated, until, withMlx } from '../support.js'

const clientOf = ({ url }: { url: string }) => new Ollama({ host: url })
const SUM = [{ role: 'user', content: 'What is 12 + 7?' }]
const ADD = {
  type: 'function',
  function: {
    name: 'add',
    description: 'Adds.',
    parameters: { type: 'object', properties: { a: { type: 'integer' } } },
  },
}
const chat = (server: Served, more: object = {}) =>
  clientOf(server).chat({ model: server.model.id, messages: SUM, ...more })

test('an answer has the same text and counts, whole and as a stream', async () => {
  const server = await served(await withMlx())
  const whole = await chat(server)
  expect(whole).toMatchObject({ model: 'demo', done: true, done_reason: 'stop', message: { role: 'assistant' } })
  expect(whole.message.content).toContain('19')
  let text = ''
  let last: Partial<typeof whole> = {}
  for await (const part of await clientOf(server).chat({ model: 'demo:latest', messages: SUM, stream: true })) {
    text += part.message.content
    last = part
  }
  expect(text).toBe(whole.message.content)
  expect(last).toMatchObject({ model: 'demo:latest', done: true, done_reason: 'stop' })
  expect([last.prompt_eval_count, last.eval_count]).toEqual([whole.prompt_eval_count, whole.eval_count])
  // Nanoseconds.
  expect(whole.total_duration).toBeGreaterThan(1e5)
})

test('num_predict, stop and format limit and shape an answer', async () => {
  const server = await served(await withMlx())
  const short = await chat(server, { options: { num_predict: 2, num_ctx: 4096, temperature: 0 } })
  expect(short).toMatchObject({ done_reason: 'length', eval_count: 2 })
  expect((await chat(server, { options: { num_predict: -1, stop: ['='] } })).message.content).not.toContain('=')
  expect(JSON.parse((await chat(server, { format: SUM_SCHEMA })).message.content)).toHaveProperty('sum')
  expect((await chat(server, { format: 'json', options: { num_predict: 20 } })).message.content).toMatch(/^\{/)
})

test('reasoning and tool calls are returned, whole and streamed, and the model reads the results', async () => {
  const server = await servedAs(({ messages }) => {
    const last = messages.at(-1)
    return last?.role === 'tool' ? { text: `It is ${last.content} of ${last.toolCallId}.` } : TWO_CALLS
  })
  const calls = [1, 2].map(a => ({ function: { name: 'add', arguments: { a } } }))
  const whole = await chat(server, { tools: [ADD], think: true })
  expect(whole.message).toMatchObject({ thinking: 'Let me see', tool_calls: calls })
  const parts = []
  for await (const part of await clientOf(server).chat({
    model: server.model.id,
    messages: SUM,
    tools: [ADD],
    stream: true,
  }))
    parts.push(part.message)
  expect(parts.flatMap(({ tool_calls }) => tool_calls ?? [])).toEqual(calls)
  expect(parts.map(({ thinking }) => thinking ?? '').join('')).toBe('Let me see')
  const results = [1, 2].map(a => ({ role: 'tool', tool_name: 'add', content: String(a) }))
  const said = await chat(server, { messages: [...SUM, whole.message, ...results], tools: [ADD] })
  expect(said.message.content).toBe('It is 2 of call_1_1.')
})

test('/api/generate answers a prompt, applies a system message, and continues a raw prompt', async () => {
  const server = await served(await withMlx())
  const client = clientOf(server)
  const { response, prompt_eval_count } = await client.generate({ model: 'demo', prompt: 'What is 12 + 7?' })
  expect(response).toContain('19')
  const instructed = await client.generate({ model: 'demo', prompt: 'What is 12 + 7?', system: 'Be short.' })
  expect(instructed.prompt_eval_count).toBeGreaterThan(prompt_eval_count)
  let text = ''
  const options = { num_predict: 5 }
  for await (const part of await client.generate({
    model: 'demo',
    prompt: 'What is',
    raw: true,
    options,
    stream: true,
  }))
    text += part.response
  expect(text).not.toBe('')
})

test('the client lists all models and those in memory, shows capabilities, and loads a model', async () => {
  const { engine, model } = await simulated()
  const server = await served({ engine, model })
  await engine.registerModel({ id: 'later', chatTemplate: '{{ messages[0].content }}' })
  const client = clientOf(server)
  const names = async () => (await client.ps()).models.map(({ name }) => name)
  expect((await client.list()).models.map(({ name }) => name)).toEqual([model.id, 'later'])
  expect(await names()).toEqual([model.id])
  expect((await client.show({ model: model.id })).capabilities).toEqual(expect.arrayContaining(['completion', 'tools']))
  expect(await client.generate({ model: 'later', prompt: '' })).toMatchObject({ done: true, done_reason: 'load' })
  expect(await names()).toEqual([model.id, 'later'])
  await engine.unloadModel('later')
  expect(await names()).toEqual([model.id])
  await client.generate({ model: 'later', prompt: '' })
  expect(await names()).toEqual([model.id, 'later'])
  expect((await (await fetch(`${server.url}/api/version`)).json()) as object).toHaveProperty('version')
})

test('an error has a status and a message, and a client that disconnects cancels its request', async () => {
  // The fourth step takes one second longer, so the answer still runs when the client disconnects.
  const backend = { simulated: M3_MAX, faults: [{ step: 3, kind: 'stall', ms: 1_000 } as const] }
  const ready = await simulated(M3_MAX, { backend })
  const server = await served(ready)
  await expect(chat(server, { model: 'other' })).rejects.toMatchObject({
    status_code: 404,
    error: expect.stringContaining('no model'),
  })
  await expect(chat(server, { options: { temperature: 9 } })).rejects.toMatchObject({
    status_code: 400,
    error: expect.stringContaining('options.temperature'),
  })
  await expect(chat(server, { messages: [{ ...SUM[0], images: ['aGk='] }] })).rejects.toMatchObject({
    status_code: 400,
  })
  const { prompt, seed } = await longAnswer(100)
  const options = { seed, temperature: 1, num_predict: 400 }
  const params = { model: ready.model.id, prompt, raw: true, options, stream: true } as const
  const client = clientOf(server)
  for await (const _ of await client.generate(params)) {
    client.abort()
    break
  }
  await until(() => ready.engine.stats().cancelled === 1)
})

test('an error during a stream is its last line', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const { url } = await served({ engine, model }, { timeoutMs: 200 })
  const { prompt, seed } = await longAnswer(100)
  const params = { model: model.id, prompt, raw: true, options: { seed, temperature: 1, num_predict: 400 } }
  const lines = (await (await post(`${url}/api/generate`, params)).text()).trimEnd().split('\n')
  expect(JSON.parse(lines.at(-1) ?? '')).toEqual({ error: expect.stringContaining('deadline') })
})
