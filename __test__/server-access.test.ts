// Access to a server: keys with tenants, host names, origins of web pages, and what error messages contain.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createHandler, type HandlerOptions } from 'mlx-serving/server'
import { expect, test } from 'vitest'
import { post, refusalOf, served, servedAs } from './serving.js'
import { simulated } from './support.js'

const ASKED = { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 4 }
const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

/** A handler without a network, and a function that asks it. */
async function handled(options?: HandlerOptions) {
  const { engine } = await simulated()
  const handler = createHandler(engine, options)
  return (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    handler(new Request(`http://localhost${path}`, { method, headers }))
}

test('a request needs one of the keys, in either header', async () => {
  const ask = await handled({ keys: ['first', { key: 'second', tenant: 'b' }] })
  expect((await ask('/v1/models', bearer('first'))).status).toBe(200)
  expect((await ask('/v1/models', { 'x-api-key': 'second' })).status).toBe(200)
  // A client may send the key of another service beside that of this one.
  expect((await ask('/v1/models', { 'x-api-key': 'other', ...bearer('first') })).status).toBe(200)
  expect((await ask('/v1/models', { 'x-api-key': 'second', ...bearer('other') })).status).toBe(200)
  const headers: Record<string, string>[] = [{}, bearer(''), bearer('firs'), bearer('firstt'), { 'x-api-key': 'x' }]
  for (const wrong of headers) {
    expect(await refusalOf(await ask('/v1/models', wrong))).toMatchObject({ status: 401, code: 'invalid_api_key' })
  }
  expect((await ask('/metrics')).status).toBe(401)
  expect((await ask('/no-such-route')).status).toBe(401)
})

test('requests of health probes need no key', async () => {
  const ask = await handled({ keys: ['first'] })
  for (const path of ['/', '/health', '/ready']) expect((await ask(path)).status).toBe(200)
})

test('keys of different tenants share no answers', async () => {
  let num = 0
  const answers = () => ({ text: `Answer ${++num}` })
  const { engine, model } = await servedAs(answers)
  engine.cache.configure({ promptCache: { enabled: true } })
  const keys = ['one', 'two', { key: 'three', tenant: 'key-1' }]
  const { url } = await served({ engine, model }, { keys })
  const textOf = async (key: string) => {
    const response = await post(`${url}/v1/chat/completions`, { messages: ASKED.messages }, bearer(key))
    const { choices } = (await response.json()) as { choices: { message: { content: string } }[] }
    return choices[0].message.content
  }
  expect(await textOf('one')).toBe('Answer 1')
  expect(await textOf('two')).toBe('Answer 2')
  expect(await textOf('one')).toBe('Answer 1')
  expect(await textOf('three')).toBe('Answer 1')
})

test('without keys a server answers under the names of this machine only', async () => {
  const ask = await handled()
  for (const host of ['localhost', 'localhost:8080', '127.0.0.1:1', '[::1]:8080', 'LOCALHOST']) {
    expect([host, (await ask('/health', { host })).status]).toEqual([host, 200])
  }
  for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:80', '']) {
    expect(await refusalOf(await ask('/health', { host }))).toMatchObject({ status: 403, code: 'host_not_allowed' })
  }
})

test('the option hosts allows other host names, and with keys any host name is allowed', async () => {
  const named = await handled({ hosts: ['Models.example'] })
  expect((await named('/health', { host: 'models.example:443' })).status).toBe(200)
  expect((await named('/health', { host: 'localhost' })).status).toBe(403)
  const keyed = await handled({ keys: ['first'] })
  expect((await keyed('/health', { host: 'models.example' })).status).toBe(200)
})

test('web pages are refused, unless the option origins names them', async () => {
  const origin = 'http://localhost:5173'
  const closed = await handled()
  for (const method of ['GET', 'OPTIONS']) {
    const response = await closed('/v1/models', { origin }, method)
    expect(response.headers.get('access-control-allow-origin')).toBe(null)
    expect(await refusalOf(response)).toMatchObject({ status: 403, code: 'origin_not_allowed' })
  }
  const open = await handled({ origins: [origin], keys: ['first'] })
  // As the clients of OpenAI and Anthropic ask from a page.
  const asked = 'anthropic-dangerous-direct-browser-access,authorization,content-type,x-stainless-lang'
  const preflight = await open('/v1/models', { origin, 'access-control-request-headers': asked }, 'OPTIONS')
  expect(preflight.status).toBe(204)
  expect(preflight.headers.get('access-control-allow-origin')).toBe(origin)
  expect(preflight.headers.get('access-control-allow-headers')).toBe(asked)
  // A page can read errors as well.
  expect((await open('/v1/models', { origin })).headers.get('access-control-allow-origin')).toBe(origin)
  expect((await open('/health', { origin: 'http://localhost:5174' })).status).toBe(403)
  expect((await open('/health', { origin: 'null' })).status).toBe(403)
})

test('an internal error is passed to onError, and the client gets no details', async () => {
  const errors: unknown[] = []
  const answers = () => {
    throw new Error('the secret in /etc/secret')
  }
  const { url } = await servedAs(answers, { onError: error => void errors.push(error) })
  const response = await post(`${url}/v1/chat/completions`, ASKED)
  const { status, message } = await refusalOf(response)
  expect(status).toBe(500)
  expect(message).not.toContain('secret')
  expect(errors).toHaveLength(1)
})

test('the message of an internal error has no text of the prompt', async () => {
  const errors: unknown[] = []
  // No answer fits, and the error of the engine shows the end of the prompt.
  const { url } = await servedAs([{ match: 'something else', text: 'x' }], {
    onError: error => void errors.push(error),
  })
  const { status, message } = await refusalOf(await post(`${url}/v1/chat/completions`, ASKED))
  expect(status).toBe(500)
  expect(String(errors[0])).toContain('Hello')
  expect(message).not.toContain('Hello')
})

test('a model that cannot be loaded any more is an error without its path', async () => {
  const errors: unknown[] = []
  const { engine } = await simulated()
  const folder = await mkdtemp(path.join(tmpdir(), 'mlx-serving-secret-'))
  await writeFile(path.join(folder, 'config.json'), '{}')
  await engine.registerModel({ id: 'gone', path: folder })
  await rm(folder, { recursive: true })
  const handler = createHandler(engine, { onError: error => void errors.push(error) })
  const init = { method: 'POST', body: JSON.stringify({ ...ASKED, model: 'gone' }) }
  const response = await handler(new Request('http://localhost/v1/chat/completions', init))
  expect(response.status).toBeGreaterThanOrEqual(400)
  expect(await response.text()).not.toContain('secret')
  expect(errors).toHaveLength(1)
})

test('the message of a parse error has no text of the body', async () => {
  const { url } = await served(await simulated())
  const { status, message } = await refusalOf(await post(`${url}/v1/chat/completions`, '{"secret": secret}'))
  expect(status).toBe(400)
  expect(message).not.toContain('secret')
})

test('a wrong option is a ConfigError that names it', async () => {
  const { engine } = await simulated()
  const wrong = [
    [{ kyes: [] }, 'kyes'],
    [{ keys: [''] }, 'keys[0]'],
    [{ keys: [{ key: 'a', priority: 'high' }] }, 'keys[0]'],
    [{ hosts: 'localhost' }, 'hosts'],
    [{ maxBodyBytes: 0 }, 'maxBodyBytes'],
    [{ maxTokens: 1.5 }, 'maxTokens'],
    [{ aliases: { a: 1 } }, 'aliases.a'],
    [{ responses: { maxEntries: -1 } }, 'responses.maxEntries'],
    [{ onError: 'log' }, 'onError'],
  ] as const
  for (const [options, param] of wrong) {
    const make = () => createHandler(engine, options as unknown as HandlerOptions)
    expect(make).toThrow(expect.objectContaining({ code: 'ConfigError', param }))
  }
  expect(() => createHandler(engine, { keys: [{ key: 'secret', tenant: '' }] })).toThrow(
    expect.not.stringContaining('secret'),
  )
})

test('unknown routes and methods are refused', async () => {
  const ask = await handled()
  expect(await refusalOf(await ask('/v1/nothing'))).toMatchObject({ status: 404, code: 'not_found' })
  const response = await ask('/v1/chat/completions')
  expect(response.headers.get('allow')).toBe('POST')
  expect(await refusalOf(response)).toMatchObject({ status: 405 })
  expect((await ask('/health', {}, 'HEAD')).status).toBe(200)
  expect((await ask('/v1/models/?after=1')).status).toBe(200)
})

test('every response has an id', async () => {
  const ask = await handled()
  const ids = [await ask('/health'), await ask('/nothing')].map(({ headers }) => headers.get('x-request-id'))
  expect(new Set(ids).size).toBe(2)
  for (const id of ids) expect(id).toMatch(/^req_\w{32}$/)
})
