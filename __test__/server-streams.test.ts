// Streams of the server: headers before the first token, slow clients, clients that leave, and malformed tool calls.

import { once } from 'node:events'
import { createServer, get, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createHandler, type Handler, toNodeListener } from 'mlx-serving/server'
import { expect, onTestFinished, test } from 'vitest'
import { chattingAs, HERMES } from './scripted.js'
import { post, refusalOf, served, servedAs, streamedText } from './serving.js'
import { ENDLESS, M3_MAX, type Ready, simulated, until } from './support.js'

const ROUTES = [
  ['/v1/chat/completions', { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 300 }],
  ['/v1/messages', { model: 'demo', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 300 }],
  ['/v1/responses', { input: 'Hello', max_output_tokens: 300 }],
  ['/v1/completions', { prompt: 'Hello', max_tokens: 300 }],
] as const
/** Fields of `ENDLESS` for /v1/completions. */
const ENDLESS_COMPLETION = { prompt: 'Tell me everything.', ignore_eos: true, max_tokens: 2000 }

test.each(ROUTES)('%s sends headers and comments before the first token', async (path, params) => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
  const server = await served({ engine, model }, { heartbeatMs: 10 })
  const first = engine.generate({ ...ENDLESS, model })
  await until(() => engine.stats().running === 1)
  const response = await post(`${server.url}${path}`, { ...params, stream: true })
  expect(response.status).toBe(200)
  // The request waits for the only row until the client has the first comment.
  expect(await streamedText(response, () => first.cancel())).toMatch(/^(: keep-alive\n\n)+(event|data): /)
})

test.each(ROUTES)(
  '%s parks an answer that its client does not read, and resumes it when the client reads',
  async (path, params) => {
    const { engine, model } = await simulated(M3_MAX, { streaming: { bufferTokens: 3 } })
    const handler = createHandler(engine)
    const body = JSON.stringify({ ...params, model: model.id, stream: true })
    const response = await handler(new Request(`http://localhost${path}`, { method: 'POST', body }))
    await until(() => engine.stats().parked === 1)
    expect(await response.text()).toMatch(/\[DONE\]|message_stop|response\.(completed|incomplete)/)
    expect(engine.stats()).toMatchObject({ completed: 1, failed: 0 })
  },
)

test('an answer whose client reads too slowly ends with an error in the stream', async () => {
  const { engine } = await simulated(M3_MAX, { streaming: { bufferTokens: 3, parkTimeoutMs: 20 } })
  const handler = createHandler(engine)
  const body = JSON.stringify({ ...ROUTES[0][1], stream: true })
  const response = await handler(new Request('http://localhost/v1/chat/completions', { method: 'POST', body }))
  await until(() => engine.stats().failed === 1)
  expect(await response.text()).toMatch(/"code":"slow_consumer"\}\}\n\n$/)
})

test('a malformed tool call is text, and no client gets a part of it as a call', async () => {
  const malformed = '<tool_call>{"name": "add", "arguments": {"a": 1]</tool_call>'
  const server = await servedAs(() => ({ text: malformed }))
  const tools = [{ type: 'function', function: { name: 'add', parameters: {} } }]
  const body = { model: server.model.id, messages: [{ role: 'user', content: 'Add' }], tools, stream: true }
  const text = await (await post(`${server.url}/v1/chat/completions`, body)).text()
  expect(text).not.toContain('tool_calls')
  const deltas = [...text.matchAll(/"delta":(\{.*?\}),"logprobs"/g)].map(([, delta]) => JSON.parse(delta).content ?? '')
  expect(deltas.join('')).toBe(malformed)
})

test('headers are sent with the first token, and before it if a heartbeat is due earlier', async () => {
  const quick = await chattingAs(HERMES, () => ({ text: 'Hello' }))
  expect(await flushes(quick, 60_000)).toBe(0)
  const slow = await simulated(M3_MAX, { scheduler: { enabled: false } })
  const first = slow.engine.generate({ ...ENDLESS, model: slow.model })
  await until(() => slow.engine.stats().running === 1)
  // The request waits for the only row until its headers are sent.
  expect(await flushes(slow, 20, () => first.cancel())).toBe(1)
})

/** Streams an answer. Returns how often headers were sent without a token. `onFlush` runs each time. */
async function flushes({ engine, model }: Ready, heartbeatMs: number, onFlush = () => {}): Promise<number> {
  let count = 0
  const { url } = await listener(createHandler(engine, { heartbeatMs }), response => {
    const flush = response.flushHeaders.bind(response)
    response.flushHeaders = () => {
      count++
      flush()
      onFlush()
    }
  })
  const body = { ...ROUTES[0][1], model: model.id, max_tokens: 3, stream: true }
  expect(await (await post(`${url}/v1/chat/completions`, body)).text()).toContain('[DONE]')
  return count
}

test('a handler inside another function streams too, and cancels a request when its client leaves', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const handler = createHandler(engine)
  const { url } = await listener(request => handler(request))
  const params = { ...ENDLESS_COMPLETION, model: model.id }
  expect(await (await post(`${url}/v1/completions`, { ...params, max_tokens: 3, stream: true })).text()).toMatch(
    /"text":[\s\S]*\[DONE\]/,
  )
  const leaving = new AbortController()
  const sent = fetch(`${url}/v1/completions`, { method: 'POST', body: JSON.stringify(params), signal: leaving.signal })
  await until(() => engine.stats().running === 1)
  leaving.abort()
  await expect(sent).rejects.toThrow()
  await until(() => engine.stats().cancelled === 1)
})

const UNSENDABLE: Record<string, () => unknown> = {
  'no response': () => undefined,
  'a response of an error': () => Response.error(),
  'a response that is being read': () => {
    const response = new Response('text')
    response.body?.getReader()
    return response
  },
  'an exception': () => {
    throw new Error('a defect')
  },
}

test.each(Object.entries(UNSENDABLE))('a handler that gives %s fails its own request only', async (_, answer) => {
  const { url } = await listener((async () => answer()) as unknown as Handler)
  const status = await fetch(url).then(
    response => response.status,
    () => 'closed',
  )
  expect([500, 'closed']).toContain(status)
})

/** A server of a handler; `onResponse` gets each response first. */
async function listener(handler: Handler, onResponse: (response: ServerResponse) => void = () => {}) {
  const server = createServer()
  server.on('request', (_, response) => onResponse(response))
  server.on('request', toNodeListener(handler))
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

test('a request for a whole answer is cancelled when its client leaves', async () => {
  const server = await served(await simulated(M3_MAX))
  const sent = request(`${server.url}/v1/completions`, { method: 'POST' })
  sent.on('error', () => {})
  sent.end(JSON.stringify(ENDLESS_COMPLETION))
  await until(() => server.engine.stats().running === 1)
  sent.destroy()
  await until(() => server.engine.stats().cancelled === 1)
})

test('cancelling the body of a response cancels the request, also while it waits', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
  const first = engine.generate({ ...ENDLESS, model })
  await until(() => engine.stats().running === 1)
  const body = JSON.stringify({ ...ROUTES[0][1], stream: true })
  const handler = createHandler(engine, { heartbeatMs: 10 })
  const response = await handler(new Request('http://localhost/v1/chat/completions', { method: 'POST', body }))
  await until(() => engine.stats().queued === 1)
  await response.body?.cancel()
  await until(() => engine.stats().cancelled === 1)
  expect(engine.stats()).toMatchObject({ running: 1, completed: 0 })
  first.cancel()
  await first
})

test('a request whose client has left before it was read does not reach the engine', async () => {
  const { engine } = await simulated(M3_MAX)
  const body = JSON.stringify(ROUTES[0][1])
  const init = { method: 'POST', body, signal: AbortSignal.abort() }
  const response = await createHandler(engine)(new Request('http://localhost/v1/chat/completions', init))
  expect(await refusalOf(response)).toMatchObject({ status: 499 })
  expect(engine.stats().submitted).toBe(0)
})

test('the deadline of the server ends an answer: with 504 before its headers, and later in the stream', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const early = await served({ engine, model }, { timeoutMs: 20 })
  expect(await refusalOf(await post(`${early.url}/v1/completions`, ROUTES[3][1]))).toMatchObject({
    status: 504,
    code: 'timeout',
  })
  // A heartbeat sends the headers before the deadline.
  const late = await served({ engine, model }, { timeoutMs: 200, heartbeatMs: 5 })
  const response = await post(`${late.url}/v1/completions`, { ...ENDLESS_COMPLETION, stream: true })
  expect(response.status).toBe(200)
  expect(await response.text()).toContain('"code":"timeout"')
})

test('a server with a full queue is not ready', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: 1 } })
  const { url } = await served({ engine, model })
  const ready = async () => {
    const response = await fetch(`${url}/ready`)
    return [response.status, await response.json()]
  }
  expect(await ready()).toEqual([200, { status: 'ready' }])
  const only = engine.generate({ ...ENDLESS, model })
  await until(() => engine.stats().running === 1)
  expect(await ready()).toEqual([503, { status: 'degraded', reasons: ['queueFull'] }])
  only.cancel()
  await only
  await engine.unloadModel(model)
  expect(await ready()).toEqual([200, { status: 'ready' }])
})

test('/metrics has the metrics of the engine', async () => {
  const { engine, model } = await chattingAs(HERMES, () => ({ text: 'Hello' }))
  const { url } = await served({ engine, model })
  await post(`${url}/v1/chat/completions`, { ...ROUTES[0][1], model: model.id })
  const [response] = (await once(get(`${url}/metrics`), 'response')) as [IncomingMessage]
  let text = ''
  for await (const part of response.setEncoding('utf8')) text += part
  expect(response.headers['content-type']).toMatch(/^application\/openmetrics-text; version=1\.0\.0/)
  expect(text).toMatch(/^# TYPE mlx_requests counter$/m)
  expect(text).toMatch(/^mlx_requests_total\{.*outcome="completed".*\} 1$/m)
  for (const line of text.trimEnd().split('\n'))
    expect(line).toMatch(/^(# EOF|# \w+ \w+ .*|\w+(\{.*\})? [\d.eE+-]+|\w+(\{.*\})? \+Inf)$/)
})
