// Hostile requests: a corpus made from a seed, and raw bytes that are not HTTP. They cause no internal error, and the
// server continues.

import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { type Served, served } from './serving.js'
import { simulated } from './support.js'

const SEED = 20_260_101
const NUM_CASES = 1200
const AT_ONCE = 20
const MAX_BODY_BYTES = 50_000
const PATHS = ['/v1/chat/completions', '/v1/completions', '/v1/messages', '/v1/messages/count_tokens', '/v1/responses']

/** Numbers from a seed, the same on every machine (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const random = randomOf(SEED)
const below = (limit: number): number => Math.floor(random() * limit)
const pick = <T>(list: readonly T[]): T => list[below(list.length)]

/** A request that each of the routes accepts. */
const GOOD: Record<string, object> = {
  '/v1/chat/completions': { model: 'demo', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 1, stop: ['x'] },
  '/v1/completions': { model: 'demo', prompt: 'Hi', max_tokens: 1, stop: ['x'] },
  '/v1/messages': { model: 'demo', max_tokens: 1, messages: [{ role: 'user', content: 'Hi' }], system: 'Hm' },
  '/v1/messages/count_tokens': { model: 'demo', messages: [{ role: 'user', content: 'Hi' }], system: 'Hm' },
  '/v1/responses': {
    model: 'demo',
    input: [{ role: 'user', content: 'Hi' }],
    max_output_tokens: 1,
    instructions: 'Hm',
  },
}

/** Values that few fields accept. */
const WRONG: (() => unknown)[] = [
  () => 1e308,
  () => -1,
  () => 2 ** 53,
  () => [],
  () => [[[]]],
  () => ({}),
  () => ({ __proto__: null, constructor: { prototype: 1 } }),
  () => 'x'.repeat(below(1000)),
  () => '\ud800',
  () => true,
  () => Array(below(500)).fill({ role: 'user' }),
  () => JSON.parse('{"__proto__": {"polluted": true}}'),
]

/** Replaces one value somewhere in an object. */
function damaged(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || random() < 0.2) return pick(WRONG)()
  const keys = Object.keys(value)
  if (keys.length === 0) return pick(WRONG)()
  const key = pick(keys)
  const copy = structuredClone(value) as Record<string, unknown>
  copy[key] = damaged(copy[key])
  return copy
}

/** Bodies of which none is valid. */
const BROKEN: ((good: string) => string | Uint8Array)[] = [
  good => good.slice(0, 1 + below(good.length - 1)),
  good => good.replaceAll('"', "'"),
  good => `${good}${pick(['}', ']', ',', '\0', good])}`,
  () => '['.repeat(1 + below(20_000)),
  () => `${'['.repeat(5000)}${']'.repeat(5000)}`,
  () => '{"a":'.repeat(1 + below(5000)),
  good => `${good.slice(0, -1)},"metadata":${'['.repeat(10_000)}${']'.repeat(10_000)}}`,
  () => pick(['', ' ', 'null', 'true', '7', '"text"', '[]', '[1]', 'NaN', 'undefined', '{]', '\ufeff\ufeff{}']),
  good => Buffer.concat([Buffer.from(good.slice(0, -1)), Buffer.from([0xff, 0xc0, 0x80, 0x7d])]),
  good => Buffer.from(good, 'utf16le'),
  () => Uint8Array.from({ length: 1 + below(300) }, () => 0x80 + below(0x80)),
  () => `{"model":"${'x'.repeat(MAX_BODY_BYTES)}"}`,
]

interface Case {
  path: string
  body: string | Uint8Array
  mustFail: boolean
}

function nextCase(): Case {
  const path = pick(PATHS)
  const good = JSON.stringify(GOOD[path])
  if (random() < 0.6) return { path, body: pick(BROKEN)(good), mustFail: true }
  // Some damage is still a valid request, such as another text.
  let value: unknown = GOOD[path]
  for (let times = 1 + below(3); times > 0; times--) value = damaged(value)
  return { path, body: JSON.stringify(value) ?? '', mustFail: false }
}

async function send({ url }: Served, { path, body }: Case): Promise<{ status: number; text: string }> {
  const response = await fetch(`${url}${path}`, { method: 'POST', body: body as string })
  return { status: response.status, text: await response.text() }
}

test('bodies that are damaged, broken, deep, large or not text are refused with a 4xx status', async () => {
  const errors: unknown[] = []
  const server = await served(await simulated(), {
    maxBodyBytes: MAX_BODY_BYTES,
    onError: error => void errors.push(error),
  })
  const cases = Array.from({ length: NUM_CASES }, nextCase)
  let numRefused = 0
  while (cases.length > 0) {
    const some = cases.splice(0, AT_ONCE)
    const answers = await Promise.all(some.map(hostile => send(server, hostile)))
    for (const [index, { status, text }] of answers.entries()) {
      const { path, body, mustFail } = some[index]
      const shown = `${path} ${Buffer.from(body).toString().slice(0, 200)} -> ${status} ${text.slice(0, 300)}`
      if (status === 200) {
        expect(mustFail, shown).toBe(false)
        continue
      }
      numRefused++
      expect(Math.floor(status / 100), shown).toBe(4)
      expect(JSON.parse(text), shown).toMatchObject({ error: { message: expect.any(String) } })
    }
  }
  expect(numRefused).toBeGreaterThan(NUM_CASES / 2)
  expect(errors).toEqual([])
  expect(({} as { polluted?: boolean }).polluted).toBe(undefined)
  const { status } = await send(server, { path: PATHS[0], body: JSON.stringify(GOOD[PATHS[0]]), mustFail: false })
  expect(status).toBe(200)
  expect(server.engine.stats()).toMatchObject({ running: 0, queued: 0 })
}, 120_000)

const POST = 'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n'
const RAW: Record<string, string> = {
  'not HTTP': 'hello\r\n\r\n',
  'a method that does not exist': 'FROB / HTTP/1.1\r\nhost: localhost\r\n\r\n',
  'a target that is another server': 'GET http://evil.example/ HTTP/1.1\r\nhost: localhost\r\n\r\n',
  'a target with two slashes': 'GET //evil.example/v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n',
  'a target with parent folders': 'GET /../../etc/passwd HTTP/1.1\r\nhost: localhost\r\n\r\n',
  'a broken escape': 'GET /v1/models/%ff%zz HTTP/1.1\r\nhost: localhost\r\n\r\n',
  'no host': 'GET /health HTTP/1.1\r\n\r\n',
  'two lengths': `${POST}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`,
  'a length and chunks': `${POST}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  'a negative length': `${POST}content-length: -1\r\n\r\n`,
  'a chunk without a size': `${POST}transfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n`,
  'a chunk with a huge size': `${POST}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{}\r\n0\r\n\r\n`,
  'a compressed body': `${POST}content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}`,
  'a header with a line feed': 'GET /health HTTP/1.1\r\nhost: localhost\r\nx: a\nb\r\n\r\n',
  CONNECT: 'CONNECT evil.example:443 HTTP/1.1\r\nhost: localhost\r\n\r\n',
  TRACE: 'TRACE / HTTP/1.1\r\nhost: localhost\r\n\r\n',
}

test.each(Object.entries(RAW))('%s is refused, or closes the connection', async (_, bytes) => {
  const server = await served(await simulated())
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  let text = ''
  socket.on('data', data => (text += data)).on('error', () => {})
  socket.end(bytes)
  await once(socket, 'close')
  if (text !== '') expect(text).toMatch(/^HTTP\/1\.1 4\d\d /)
  expect((await fetch(`${server.url}/health`)).status).toBe(200)
})
