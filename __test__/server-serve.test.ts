// A whole server: models, probes, limits against slow and large requests, and its end without dropped requests.

import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { json } from 'node:stream/consumers'
import { type RunningServer, type ServeOptions, serve } from 'mlx-serving/server'
import { expect, onTestFinished, test } from 'vitest'
import { post, refusalOf } from './serving.js'
import { failure, inNode, longAnswer, M3_MAX, until } from './support.js'

async function running(options: ServeOptions = {}): Promise<RunningServer> {
  const engine = { backend: { simulated: 'instant' } }
  const server = await serve({ port: 0, signals: [], engine, onError: () => {}, ...options })
  onTestFinished(() => server.close({ drainMs: 0 }))
  return server
}

const ASKED = { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 4 }
const slow = { backend: { simulated: M3_MAX } }

/** Sends raw bytes, and collects what comes back until the server closes the connection. */
async function raw({ url }: RunningServer, bytes: string): Promise<{ socket: Socket; closed: Promise<string> }> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  await once(socket, 'connect')
  let text = ''
  socket.on('data', data => (text += data))
  socket.on('error', () => {})
  socket.write(bytes)
  return { socket, closed: once(socket, 'close').then(() => text) }
}

/** Asks for a stream of a long answer, over a connection that is kept. */
async function stream({ url }: RunningServer, agent: Agent, maxTokens: number): Promise<IncomingMessage> {
  const { prompt: content, seed } = await longAnswer(100)
  const sent = request(`${url}/v1/chat/completions`, { method: 'POST', agent })
  const body = { messages: [{ role: 'user', content }], seed, max_tokens: maxTokens, stream: true }
  sent.end(JSON.stringify(body))
  const [response] = await once(sent, 'response')
  return response
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const part of response.setEncoding('utf8')) text += part
  return text
}

test('it loads the models and answers with the first one', async () => {
  const { url } = await running({ models: [{ id: 'first' }] })
  const response = await post(`${url}/v1/chat/completions`, ASKED)
  expect(await response.json()).toMatchObject({ model: 'first' })
  expect(await (await fetch(`${url}/ready`)).json()).toEqual({ status: 'ready' })
})

test('a model that does not load ends the server with its error', async () => {
  const port = await running().then(async server => {
    await server.close()
    return Number(new URL(server.url).port)
  })
  const failed = serve({ port, signals: [], models: ['/no/such/model'] })
  expect(await failure(failed)).toMatchObject({ code: 'ModelNotFound' })
  await expect(fetch(`http://127.0.0.1:${port}`)).rejects.toThrow('fetch failed')
})

test('a port that is taken is an error, and leaves nothing open', async () => {
  const { url } = await running()
  const script = `
    import { serve } from 'mlx-serving/server'
    await serve({ port: ${new URL(url).port} }).catch(error => console.log(error.code))`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'EADDRINUSE\n' })
})

test('beyond loopback it needs keys, or the permission to have none', async () => {
  expect(await failure(serve({ host: '0.0.0.0', port: 0 }))).toMatchObject({ code: 'ConfigError', param: 'keys' })
  const { url } = await running({ host: '0.0.0.0', allowAnonymous: true })
  const { port } = new URL(url)
  expect((await fetch(`http://127.0.0.1:${port}/health`, { headers: { host: 'any.example' } })).status).toBe(200)
  await running({ host: '0.0.0.0', keys: ['a'] })
})

test('wrong options are ConfigErrors that name them, before an engine starts', async () => {
  const wrong = [
    [{ port: 65536 }, 'port'],
    [{ host: '' }, 'host'],
    [{ signals: ['SIGNAL'] }, 'signals'],
    [{ drainMs: -1 }, 'drainMs'],
    [{ maxHeaderBytes: 1 }, 'maxHeaderBytes'],
    [{ modles: [] }, 'modles'],
  ] as const
  for (const [options, param] of wrong) {
    expect(await failure(serve(options as unknown as ServeOptions))).toMatchObject({ code: 'ConfigError', param })
  }
})

test('a body that is too large is refused before it is read, and while it arrives', async () => {
  const server = await running({ maxBodyBytes: 1000 })
  const head = 'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n'
  const declared = await raw(server, `${head}content-length: 1001\r\n\r\n`)
  expect(await declared.closed).toMatch(/^HTTP\/1.1 413 .*request_too_large/s)
  const chunked = await raw(
    server,
    `${head}transfer-encoding: chunked\r\n\r\n${`64\r\n${'x'.repeat(100)}\r\n`.repeat(11)}`,
  )
  expect(await chunked.closed).toMatch(/^HTTP\/1.1 413 .*request_too_large/s)
  expect((await post(`${server.url}/v1/chat/completions`, ASKED)).status).toBe(200)
})

test('headers that are too large are refused', async () => {
  const server = await running({ maxHeaderBytes: 2048 })
  const { closed } = await raw(server, `GET /health HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(3000)}\r\n\r\n`)
  expect(await closed).toMatch(/^HTTP\/1.1 431 /)
})

test('a client that sends its headers or its body slowly loses its connection', async () => {
  const strict = await running({ headersTimeoutMs: 50 })
  const server = await running({ requestTimeoutMs: 100 })
  const headers = await raw(strict, 'GET /health HTTP/1.1\r\nhost: localhost\r\n')
  const body = await raw(server, 'POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{')
  const [first, second] = await Promise.all([headers.closed, body.closed])
  expect(first).toMatch(/^HTTP\/1.1 408 /)
  expect(second).toMatch(/^HTTP\/1.1 (408|404|400) /)
})

test('connections beyond the limit are closed', async () => {
  const server = await running({ maxConnections: 1 })
  const first = await raw(server, '')
  const second = await raw(server, 'GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n')
  expect(await second.closed).toBe('')
  first.socket.destroy()
})

test('closing lets running answers end, whole and streamed, and refuses new connections', async () => {
  const server = await running({ engine: slow })
  const agent = new Agent({ keepAlive: true })
  onTestFinished(() => agent.destroy())
  const streamed = await stream(server, agent, 100)
  const whole = post(`${server.url}/v1/chat/completions`, { ...ASKED, max_tokens: 50 })
  await until(() => server.engine.stats().running === 2)
  const closed = server.close()
  await expect(fetch(server.url)).rejects.toThrow('fetch failed')
  expect(await textOf(streamed)).toContain('data: [DONE]')
  expect((await whole).status).toBe(200)
  await (await whole).json()
  await closed
  await server.closed
  expect(server.engine.stats()).toMatchObject({ completed: 2, failed: 0, cancelled: 0 })
})

test('a request on an open connection is still served while the server closes', async () => {
  const server = await running({ engine: slow })
  const agent = new Agent({ keepAlive: true })
  onTestFinished(() => agent.destroy())
  const streamed = await stream(server, agent, 100)
  // The server has read a part of this request when it begins to close.
  const text = JSON.stringify(ASKED)
  const late = request(`${server.url}/v1/chat/completions`, {
    method: 'POST',
    agent,
    headers: { 'content-length': text.length },
  })
  const answered = once(late, 'response')
  late.write(text.slice(0, 5))
  await new Promise<void>(resolve => server.http.once('request', () => resolve()))
  const closed = server.close()
  late.end(text.slice(5))
  const [response] = (await answered) as [IncomingMessage]
  expect([response.statusCode, response.headers.connection]).toEqual([200, 'close'])
  await json(response)
  expect(await textOf(streamed)).toContain('data: [DONE]')
  await closed
})

test('what runs longer than drainMs ends with an event that says so', async () => {
  const server = await running({ engine: slow })
  const agent = new Agent({ keepAlive: true })
  onTestFinished(() => agent.destroy())
  const streamed = await stream(server, agent, 100)
  await Promise.all([
    server.close({ drainMs: 10 }),
    textOf(streamed).then(text => expect(text).toContain('shutting_down')),
  ])
})

test('a server whose engine was shut down answers 503', async () => {
  const server = await running()
  await server.engine.shutdown()
  expect(await refusalOf(await post(`${server.url}/v1/chat/completions`, ASKED))).toMatchObject({ status: 503 })
})

test('SIGTERM closes the server and ends the process', async () => {
  const script = `
    import { serve } from 'mlx-serving/server'
    const { url } = await serve({ port: 0, engine: { backend: { simulated: '${M3_MAX}' } } })
    const body = JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 20 })
    const asked = fetch(url + '/v1/chat/completions', { method: 'POST', body })
    setTimeout(() => process.kill(process.pid, 'SIGTERM'), 50)
    console.log((await asked).status)`
  expect(await inNode(script)).toEqual({ code: 0, signal: null, stdout: '200\n', stderr: '' })
})
