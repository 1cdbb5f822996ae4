// Server-sent events: their form, joining, backpressure, heartbeats, and clients that leave.

import { once } from 'node:events'
import { createServer, get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SSE_HEADERS, type SseEvent, type SseOptions, sseStream, writeSse } from 'mlx-serving/server'
import { expect, onTestFinished, test, vi } from 'vitest'
import { M3_MAX, simulated, until } from './support.js'

const textOf = (source: AsyncIterable<SseEvent>, options?: SseOptions) =>
  new Response(sseStream(source, options)).text()

async function* from(events: SseEvent[]) {
  yield* events
}

/** The chunks of a stream as texts. */
async function partsOf(stream: ReadableStream<Uint8Array>): Promise<string[]> {
  const parts: string[] = []
  const reader = stream.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return parts
    parts.push(new TextDecoder().decode(value))
  }
}

/** A server that writes these events to every client. */
async function writing(source: () => AsyncIterable<SseEvent>, options?: Parameters<typeof writeSse>[2]) {
  const writes: Promise<void>[] = []
  const server = createServer((_, response) => void writes.push(writeSse(response, source(), options)))
  onTestFinished(() => void server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const connect = async () => {
    const [response] = await once(get({ port: (server.address() as AddressInfo).port }), 'response')
    return response as IncomingMessage
  }
  return { connect, writes }
}

test('an event has its type, its id, and a line of data for each line', async () => {
  const events = [{ data: 'a\nb\r\nc' }, { data: { text: 'x\ny' }, event: 'delta', id: '7' }]
  expect(await textOf(from(events))).toBe(
    'data: a\ndata: b\ndata: c\n\nevent: delta\nid: 7\ndata: {"text":"x\\ny"}\n\n',
  )
})

test('a type with a line break is refused, so that no event can be forged', async () => {
  await expect(textOf(from([{ data: 1, event: 'a\ndata: 2' }]))).rejects.toMatchObject({ code: 'InvalidParams' })
})

test('the first event is sent alone, and the others together up to 64 KiB', async () => {
  const events = Array.from({ length: 100 }, (_, n) => ({ data: `${n} ${'x'.repeat(2000)}` }))
  const parts = await partsOf(sseStream(from(events)))
  expect(parts[0]).toBe(`data: ${events[0].data}\n\n`)
  expect(parts.length).toBeLessThan(10)
  for (const part of parts) expect(part.length).toBeLessThanOrEqual(64 * 1024)
  expect(parts.join('')).toBe(events.map(({ data }) => `data: ${data}\n\n`).join(''))
})

test('an event that is larger than 64 KiB is sent whole', async () => {
  const data = 'x'.repeat(100_000)
  expect(await textOf(from([{ data: 'first' }, { data }, { data: 'last' }]))).toContain(`data: ${data}\n\ndata: last`)
})

test('comments, which are not events, are sent while the source is silent', async () => {
  let speak = () => {}
  async function* late() {
    await new Promise<void>(resolve => (speak = resolve))
    yield { data: 'late' }
  }
  const reader = sseStream(late(), { heartbeatMs: 5 }).getReader()
  const read = async () => new TextDecoder().decode((await reader.read()).value)
  expect(await read()).toBe(': keep-alive\n\n')
  expect(await read()).toBe(': keep-alive\n\n')
  speak()
  let text = await read()
  while (text.startsWith(':')) text = await read()
  expect(text).toBe('data: late\n\n')
})

test('a source that fails ends the stream with an error event, or fails the stream', async () => {
  async function* failing() {
    yield { data: 'one' }
    throw new Error('broken')
  }
  const onError = (error: unknown) => ({ event: 'error', data: (error as Error).message })
  expect(await textOf(failing(), { onError })).toBe('data: one\n\nevent: error\ndata: broken\n\n')
  await expect(textOf(failing())).rejects.toThrow('broken')
})

test('cancelling the body cancels the generation, also before its first chunk', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const generation = engine.generate({ model, prompt: 'Tell me everything.', ignoreEos: true, maxTokens: 2000 })
  generation.catch(() => {})
  async function* events() {
    for await (const { text } of generation) yield { data: { text } }
  }
  const onCancel = vi.fn(() => generation.cancel())
  const reader = sseStream(events(), { onCancel }).getReader()
  const pending = reader.read()
  await reader.cancel()
  await pending
  await until(() => engine.stats().cancelled === 1)
  expect(onCancel).toHaveBeenCalledOnce()
})

test('nothing is taken from the source before the client reads', async () => {
  let taken = 0
  async function* counting() {
    for (;;) yield { data: 'x'.repeat(40_000), id: String(taken++) }
  }
  const reader = sseStream(counting()).getReader()
  await new Promise(resolve => setTimeout(resolve, 20))
  expect(taken).toBe(0)
  await reader.read()
  await reader.read()
  await new Promise(resolve => setTimeout(resolve, 20))
  expect(taken).toBeLessThanOrEqual(4)
  await reader.cancel()
})

test('writeSse sends its headers at once, and waits for a client that does not read', async () => {
  let taken = 0
  const last = 600
  async function* many() {
    while (taken < last) yield { data: 'x'.repeat(30_000), id: String(taken++) }
  }
  const { connect, writes } = await writing(many)
  const response = await connect()
  expect(response.headers['content-type']).toBe(SSE_HEADERS['content-type'])
  let before = -1
  // The buffers of the sockets fill up, and then nothing more is taken.
  while (taken !== before) {
    before = taken
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  expect(taken).toBeLessThan(last)
  let text = ''
  for await (const part of response.setEncoding('utf8')) text += part
  await Promise.all(writes)
  expect(text.match(/^id: /gm)).toHaveLength(last)
})

test('writeSse calls onCancel when the client leaves', async () => {
  const onCancel = vi.fn()
  async function* endless() {
    yield { data: 'one' }
    await new Promise(() => {})
  }
  const { connect, writes } = await writing(endless, { onCancel })
  const response = await connect()
  await once(response, 'readable')
  response.destroy()
  await until(() => onCancel.mock.calls.length > 0)
  await Promise.all(writes)
  expect(onCancel).toHaveBeenCalledOnce()
})

test('writeSse closes the connection of a client that never reads', async () => {
  async function* endless() {
    for (;;) yield { data: 'x'.repeat(50_000) }
  }
  const onCancel = vi.fn()
  const { connect, writes } = await writing(endless, { onCancel, stallMs: 50 })
  const response = await connect()
  response.on('error', () => {})
  await until(() => writes.length > 0)
  await Promise.all(writes)
  expect(onCancel).toHaveBeenCalledOnce()
})
