// Streams of the server on their way: headers before the first token, slow clients, and tool calls that do not count.

import { once } from 'node:events'
import { createServer, get, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createHandler, type Handler, toNodeListener } from 'mlx-serving/server'
import { expect, onTestFinished, test, vi } from 'vitest'
import { chattingAs, HERMES } from './scripted.js'
import { post, refusalOf, served, servedAs } from './serving.js'
import { longAnswer, M3_MAX, simulated, until } from './support.js'

const ROUTES = [
  ['/v1/chat/completions', { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 300 }],
  ['/v1/messages', { model: 'demo', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 300 }],
  ['/v1/responses', { input: 'Hello', max_output_tokens: 300 }],
  ['/v1/completions', { prompt: 'Hello', max_tokens: 300 }],
] as const

test.each(ROUTES)('%s sends headers and comments while a long prompt is read', async (path, params) => {
  const server = await served(await simulated(M3_MAX), { heartbeatMs: 10 })
  const response = await post(`${server.url}${path}`, { ...params, stream: true })
  const text = await response.text()
  expect(response.status).toBe(200)
  // The first token takes 90 ms.
  expect(text).toMatch(/^(: keep-alive\n\n)+(event|data): /)
})

test.each(ROUTES)(
  '%s parks an answer that its client does not read, and goes on when it does',
  async (path, params) => {
    const { engine, model } = await simulated(M3_MAX, { streaming: { bufferTokens: 3 } })
    const handler = createHandler(engine)
    const body = JSON.stringify({ ...params, model: model.id, stream: true })
    const response = await handler(new Request(`http://localhost${path}`, { method: 'POST', body }))
    await until(() => engine.stats().parks === 1)
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

test('a tool call that turns out to be malformed is text, and no client sees a part of it as a call', async () => {
  const malformed = '<tool_call>{"name": "add", "arguments": {"a": 1]</tool_call>'
  const server = await servedAs(() => ({ text: malformed }))
  const tools = [{ type: 'function', function: { name: 'add', parameters: {} } }]
  const body = { model: server.model.id, messages: [{ role: 'user', content: 'Add' }], tools, stream: true }
  const text = await (await post(`${server.url}/v1/chat/completions`, body)).text()
  expect(text).not.toContain('tool_calls')
  const deltas = [...text.matchAll(/"delta":(\{.*?\}),"logprobs"/g)].map(([, delta]) => JSON.parse(delta).content ?? '')
  expect(deltas.join('')).toBe(malformed)
})

test('headers are sent with a first token that is there, and alone before one that is not', async () => {
  const quick = await chattingAs(HERMES, () => ({ text: 'Hello' }))
  const slow = await simulated(M3_MAX)
  for (const [{ engine, model }, isAlone] of [
    [quick, false],
    [slow, true],
  ] as const) {
    const flushed = vi.fn()
    const { url } = await listener(createHandler(engine, { heartbeatMs: 20 }), response => {
      const flush = response.flushHeaders.bind(response)
      response.flushHeaders = () => {
        flushed()
        flush()
      }
    })
    const body = { ...ROUTES[0][1], model: model.id, max_tokens: 3, stream: true }
    expect(await (await post(`${url}/v1/chat/completions`, body)).text()).toContain('[DONE]')
    expect(flushed.mock.calls.length > 0).toBe(isAlone)
  }
})

test('a handler that another function calls streams as well, and ends its work when the client leaves', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const handler = createHandler(engine)
  const { url } = await listener(request => handler(request))
  const { prompt, seed } = await longAnswer(100)
  const params = { model: model.id, prompt, seed, temperature: 1, max_tokens: 400 }
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

test('an answer that is not streamed ends when its client leaves', async () => {
  const server = await served(await simulated(M3_MAX))
  const { prompt, seed } = await longAnswer(100)
  const sent = request(`${server.url}/v1/completions`, { method: 'POST' })
  sent.on('error', () => {})
  sent.end(JSON.stringify({ prompt, seed, temperature: 1, max_tokens: 400 }))
  await until(() => server.engine.stats().running === 1)
  sent.destroy()
  await until(() => server.engine.stats().cancelled === 1)
})

test('cancelling the body of a response ends the work, also while it waits', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { enabled: false } })
  const first = engine.generate({ ...(await longAnswer(100)), model })
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

test('a request whose client has left before it was read starts no work', async () => {
  const { engine } = await simulated(M3_MAX)
  const body = JSON.stringify(ROUTES[0][1])
  const init = { method: 'POST', body, signal: AbortSignal.abort() }
  const response = await createHandler(engine)(new Request('http://localhost/v1/chat/completions', init))
  expect(await refusalOf(response)).toMatchObject({ status: 499 })
  expect(engine.stats().running).toBe(0)
})

test('the deadline of the server ends an answer, before its headers with 504 and later in the stream', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const early = await served({ engine, model }, { timeoutMs: 20 })
  expect(await refusalOf(await post(`${early.url}/v1/completions`, ROUTES[3][1]))).toMatchObject({
    status: 504,
    code: 'timeout',
  })
  const late = await served({ engine, model }, { timeoutMs: 200 })
  const { prompt, seed } = await longAnswer(100)
  const response = await post(`${late.url}/v1/completions`, {
    prompt,
    seed,
    temperature: 1,
    max_tokens: 400,
    stream: true,
  })
  expect(response.status).toBe(200)
  expect(await response.text()).toContain('"code":"timeout"')
})

test('a server whose engine cannot serve is not ready', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: 1 } })
  const { url } = await served({ engine, model })
  const ready = async () => {
    const response = await fetch(`${url}/ready`)
    return [response.status, await response.json()]
  }
  expect(await ready()).toEqual([200, { status: 'ready' }])
  const only = engine.generate({ ...(await longAnswer(100)), model })
  await until(() => engine.stats().running === 1)
  expect(await ready()).toEqual([503, { status: 'degraded', reasons: ['queueFull'] }])
  only.cancel()
  await only
  await engine.unloadModel(model)
  expect(await ready()).toEqual([200, { status: 'ready' }])
})

test('metrics are those of the engine', async () => {
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
