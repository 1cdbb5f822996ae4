// A whole server: models, probes, limits against slow and large requests, and its end without dropped requests.

import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { json } from 'node:stream/consumers'
import { type RunningServer, type ServeOptions, serve } from 'mlx-serving/server'
import { expect, onTestFinished, test } from 'vitest'
import { post, refusalOf } from './serving.js'
import { failure, inNode, M3_MAX, until } from './support.js'

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
  const closed = new Promise<string>(resolve => socket.once('close', () => resolve(text)))
  socket.write(bytes)
  return { socket, closed }
}

/** Asks for a stream of an answer with this number of tokens, over a connection that is kept. */
async function stream({ url }: RunningServer, agent: Agent, numTokens: number): Promise<IncomingMessage> {
  const sent = request(`${url}/v1/chat/completions`, { method: 'POST', agent })
  sent.end(JSON.stringify({ ...ASKED, max_tokens: numTokens, ignore_eos: true, stream: true }))
  const [response] = await once(sent, 'response')
  return response
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const part of response.setEncoding('utf8')) text += part
  return text
}

test('a server loads its models and answers with the first one', async () => {
  const { url } = await running({ models: [{ id: 'first' }] })
  const response = await post(`${url}/v1/chat/completions`, ASKED)
  expect(await response.json()).toMatchObject({ model: 'first' })
  expect(await (await fetch(`${url}/ready`)).json()).toEqual({ status: 'ready' })
})

test('a model that does not load closes the server with its error, so the process ends', async () => {
  const script = `
    import { serve } from 'mlx-serving/server'
    await serve({ port: 0, models: ['/no/such/model'] }).catch(error => console.log(error.code))`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'ModelNotFound\n' })
})

test('a taken port is an error and leaves nothing open, so the process ends', async () => {
  const { url } = await running()
  const script = `
    import { serve } from 'mlx-serving/server'
    await serve({ port: ${new URL(url).port} }).catch(error => console.log(error.code))`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'EADDRINUSE\n' })
})

test('a host beyond loopback needs keys or allowAnonymous', async () => {
  expect(await failure(serve({ host: '0.0.0.0', port: 0 }))).toMatchObject({ code: 'ConfigError', param: 'keys' })
  const { url } = await running({ host: '0.0.0.0', allowAnonymous: true })
  const { port } = new URL(url)
  expect((await fetch(`http://127.0.0.1:${port}/health`, { headers: { host: 'any.example' } })).status).toBe(200)
  await running({ host: '0.0.0.0', keys: ['a'] })
})

// Other systems have no further loopback address without a set-up.
test.runIf(process.platform === 'linux')(
  'a server at another loopback address answers under that address',
  async () => {
    const { url } = await running({ host: '127.0.0.2' })
    expect((await fetch(`${url}/health`)).status).toBe(200)
  },
)

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
  await until(() => server.engine.stats().submitted === 2)
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

test('an answer that runs longer than drainMs ends with the error shutting_down', async () => {
  const server = await running({ engine: slow })
  const agent = new Agent({ keepAlive: true })
  onTestFinished(() => agent.destroy())
  const streamed = await stream(server, agent, 2000)
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

test('SIGTERM lets the running answer end, closes the server and ends the process', async () => {
  const script = `
    import { serve } from 'mlx-serving/server'
    const { url, engine } = await serve({ port: 0, engine: { backend: { simulated: '${M3_MAX}' } } })
    const body = JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 50, ignore_eos: true })
    const asked = fetch(url + '/v1/chat/completions', { method: 'POST', body })
    while (engine.stats().submitted === 0) await new Promise(resolve => setTimeout(resolve, 1))
    process.kill(process.pid, 'SIGTERM')
    console.log((await asked).status)`
  expect(await inNode(script)).toEqual({ code: 0, signal: null, stdout: '200\n', stderr: '' })
})
