// The example servers, each in its own process and with real connections: a streamed answer, errors with their status,
// overload, clients that disconnect, and SIGTERM under load.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { json } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { createEngine } from 'mlx-serving'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { inNode, M3_MAX, ROOT } from './support.js'

const SERVERS = ['http', 'fastify', 'hono', 'express']
/** Tokens of a long answer, which takes two seconds on `M3_MAX`: more than a stream may be ahead of its reader. */
const LONG = 300
/** A device that is seven times slower: a long answer takes 13 s, so that it runs until its client disconnects. */
const SLOW = 'm3-max/gemma-2-27b-4bit'

/** A line of a stack trace. */
const STACK = /^ {4}at /m

interface Server {
  url: string
  child: ChildProcess
  stderr: string
}

/** Starts an example server, which ends with the test. */
async function started(name: string, env: NodeJS.ProcessEnv = {}): Promise<Server> {
  const file = path.join(ROOT, 'examples', `${name}.mjs`)
  const child = spawn(process.execPath, [file], { env: { ...process.env, PORT: '0', ...env } })
  onTestFinished(() => void child.kill('SIGKILL'))
  const server: Server = { url: '', child, stderr: '' }
  child.stderr.on('data', data => (server.stderr += data))
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`exit ${code}: ${server.stderr}`)))
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), ended])
  ended.catch(() => {})
  server.url = line as string
  return server
}

const busy = (name: string, maxPending: number, device = M3_MAX) =>
  started(name, { SIMULATED: device, MAX_PENDING: String(maxPending) })

/** Three different requests with long answers. */
const long: object[] = []

// A simulated model ends at a random, but reproducible length.
beforeAll(async () => {
  const engine = await createEngine({ backend: { simulated: 'instant' } })
  const model = await engine.loadModel()
  for (let n = 0; long.length < 3; n++) {
    const asked = { messages: [{ role: 'user', content: `Tell me ${n} things.` }], maxTokens: LONG }
    const { usage } = await engine.generate({ model, ...asked })
    if (usage.outputTokens === LONG) long.push(asked)
  }
  await engine.dispose()
})

/** Sends a request. The connection stays open if `agent` keeps it. */
function post({ url }: Server, body: unknown, agent?: Agent): Promise<IncomingMessage> {
  const headers = { 'content-type': 'application/json' }
  const sent = request(`${url}/generate`, { method: 'POST', headers, ...(agent && { agent }) })
  sent.end(typeof body === 'string' ? body : JSON.stringify(body))
  // After the response, too: a server that refuses a body may close the connection.
  sent.on('error', () => {})
  return once(sent, 'response').then(([response]) => response)
}

const stream = (server: Server, body: object, agent?: Agent) => post(server, { ...body, stream: true }, agent)

/** The rest of the events of a stream. */
async function eventsOf(response: IncomingMessage): Promise<Record<string, unknown>[]> {
  let text = ''
  for await (const part of response.setEncoding('utf8')) text += part
  const lines = text.split('\n\n').filter(Boolean)
  return lines.map(line => JSON.parse(line.replace(/^data: /, '')))
}

const healthOf = async ({ url }: Server) => (await fetch(`${url}/health`)).json() as Promise<Record<string, number>>

async function untilHealth(server: Server, isReached: (health: Record<string, number>) => boolean): Promise<void> {
  while (!isReached(await healthOf(server)));
}

/** Connections that were open fail in other ways first. */
async function untilRefused({ url }: Server): Promise<void> {
  for (;;) if ((await fetch(url).catch(error => error.cause.code)) === 'ECONNREFUSED') return
}

describe.each(SERVERS)('%s', name => {
  test('streams the answer as events, and sends it whole', async () => {
    const server = await started(name)
    const asked = { messages: [{ role: 'user', content: 'What is 30 + 4?' }] }
    const response = await stream(server, asked)
    expect(response.statusCode).toBe(200)
    expect(response.headers['content-type']).toBe('text/event-stream; charset=utf-8')
    const events = await eventsOf(response)
    const text = events.map(event => event.text ?? '').join('')
    expect(text).toContain('34')
    expect(events.at(-1)).toMatchObject({ finishReason: 'stop', usage: { outputTokens: expect.any(Number) } })
    const whole = await post(server, asked)
    expect(whole.headers['content-type']).toContain('application/json')
    expect(await json(whole)).toMatchObject({ text, finishReason: 'stop' })
  })

  test('an error before the first chunk has its status and says what is wrong', async () => {
    const server = await busy(name, 2)
    const asked = { messages: [{ role: 'user', content: 'Hi' }] }
    for (const stream of [true, false]) {
      const wrong = await post(server, { ...asked, maxTokens: -1, stream })
      expect(wrong.statusCode).toBe(400)
      expect(await json(wrong)).toMatchObject({ error: { code: 'InvalidParams', param: 'maxTokens' } })
      const long = await post(server, { ...asked, maxTokens: 1_000_000, stream })
      expect(long.statusCode).toBe(400)
      expect(await json(long)).toMatchObject({ error: { code: 'ContextLengthExceeded' } })
    }
    for (const body of ['', '{', 'null', '5', '{}']) {
      const response = await post(server, body)
      expect([body, response.statusCode]).toEqual([body, 400])
      await json(response)
    }
    const huge = await post(server, { messages: [{ role: 'user', content: 'x'.repeat(3_000_000) }] }).catch(
      error => error,
    )
    // A server that stops reading closes the connection, which the client may notice before the answer.
    expect(huge.statusCode ?? huge.code).toEqual(
      expect.toSatisfy(found => [413, 'EPIPE', 'ECONNRESET'].includes(found)),
    )
    expect(await healthOf(server)).toMatchObject({ running: 0, queued: 0 })
  })

  test('overload is answered with 429 and a time after which a request is accepted', async () => {
    const server = await busy(name, 2, SLOW)
    // From the first answer the engine knows how long answers take.
    await json(await post(server, { ...long[0], maxTokens: 1 }))
    const running = await Promise.all([stream(server, long[0]), stream(server, long[1])])
    let response = await stream(server, long[2])
    expect(response.statusCode).toBe(429)
    running[0].destroy()
    while (response.statusCode === 429) {
      expect(await json(response)).toMatchObject({ error: { code: 'Overloaded' } })
      const [seconds, ms] = ['retry-after', 'retry-after-ms'].map(header => Number(response.headers[header]))
      expect(seconds).toBe(Math.ceil(ms / 1000))
      await pause(ms)
      response = await stream(server, long[2])
    }
    expect(response.statusCode).toBe(200)
  })

  test('a client that disconnects ends the work, streamed or not', async () => {
    const server = await busy(name, 2, SLOW)
    const response = await stream(server, long[0])
    await once(response, 'readable')
    response.destroy()
    await untilHealth(server, ({ running, cancelled }) => running === 0 && cancelled === 1)
    const controller = new AbortController()
    const body = JSON.stringify(long[1])
    const headers = { 'content-type': 'application/json' }
    const asked = fetch(`${server.url}/generate`, { method: 'POST', body, headers, signal: controller.signal })
    await untilHealth(server, ({ running }) => running === 1)
    controller.abort()
    await expect(asked).rejects.toThrow()
    await untilHealth(server, ({ running, cancelled }) => running === 0 && cancelled === 2)
    expect(server.stderr).not.toMatch(STACK)
  })

  // The server keeps idle connections for longer than this test may take.
  test('SIGTERM lets running answers end, refuses new ones, and ends the process', { timeout: 20_000 }, async () => {
    const server = await busy(name, 3)
    const exited = once(server.child, 'exit')
    const agent = new Agent({ keepAlive: true })
    onTestFinished(() => agent.destroy())
    await json(await post(server, {}, agent))
    const whole = post(server, long[2], agent)
    const streams = await Promise.all([stream(server, long[0], agent), stream(server, long[1], agent)])
    await untilHealth(server, ({ running, completed }) => running + completed === 3)
    server.child.kill('SIGTERM')
    await untilRefused(server)
    for (const response of streams) {
      const events = await eventsOf(response)
      expect(events.at(-1)).toMatchObject({ finishReason: 'length', usage: { outputTokens: LONG } })
    }
    expect(await json(await whole)).toMatchObject({ finishReason: 'length', usage: { outputTokens: LONG } })
    expect(await exited).toEqual([0, null])
    expect(server.stderr).not.toMatch(STACK)
  })
})

test('an answer that is not read is parked, and continues when it is read', async () => {
  const script = `
    import { answer, health } from './examples/serving.mjs'
    const body = ${JSON.stringify({ ...long[0], stream: true })}
    const response = await answer(body, new AbortController().signal)
    const parks = async () => (await health().json()).parks
    while (await parks() === 0) await new Promise(resolve => setTimeout(resolve, 1))
    console.log((await response.text()).trim().split('\\n\\n').at(-1))`
  const { stdout, stderr } = await inNode(script, 'module', [], { SIMULATED: M3_MAX })
  expect(stderr).toBe('')
  expect(stdout).toContain('finishReason')
})
