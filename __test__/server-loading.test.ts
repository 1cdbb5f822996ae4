// Requests for models that are not loaded yet: headers and comments during the load, and loads that fail.

import type { Engine } from 'mlx-serving'
import { expect, test } from 'vitest'
import { post, refusalOf, type Served, served, streamedText } from './serving.js'
import { simulated } from './support.js'

const ASKED = { model: 'later', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 5, stream: true }
const ROUTES = ['/v1/chat/completions', '/v1/messages', '/v1/responses'] as const
const bodyOf = (route: string) => (route === '/v1/responses' ? { model: 'later', input: 'Hello', stream: true } : ASKED)

/** A server with a registered model that is not loaded. Its load begins when the promise of `wait` resolves. */
async function withLater(wait: () => Promise<void>, heartbeatMs: number): Promise<Served> {
  const ready = await simulated()
  await ready.engine.registerModel({ id: 'later', chatTemplate: '{{ messages[0].content }}' })
  slow(ready.engine, wait)
  return served(ready, { heartbeatMs })
}

function slow(engine: Engine, wait: () => Promise<void>): void {
  const tokenize = engine.tokenize.bind(engine)
  engine.tokenize = async params => {
    await wait()
    return tokenize(params)
  }
}

test.each(ROUTES)('%s sends headers and comments while its model is loaded, and then the answer', async route => {
  let finish = () => {}
  const loading = new Promise<void>(resolve => (finish = resolve))
  const { url, engine } = await withLater(() => loading, 5)
  const response = await post(`${url}${route}`, bodyOf(route))
  expect(response.status).toBe(200)
  expect(engine.getModelInfo('later')).toBe(undefined)
  // The load begins after the first comment.
  expect(await streamedText(response, finish)).toMatch(
    /^(: keep-alive\n\n)+(event|data): [\s\S]*(\[DONE\]|message_stop|response\.completed)/,
  )
})

test('a load that fails before the headers gives a status, and one that fails later gives an error event', async () => {
  const broken = new Error('the disk is gone')
  const soon = await withLater(() => Promise.reject(broken), 10_000)
  expect(await refusalOf(await post(`${soon.url}${ROUTES[0]}`, ASKED))).toMatchObject({ status: 500 })
  let fail = () => {}
  const loading = new Promise<void>((_, reject) => (fail = () => reject(broken)))
  const late = await withLater(() => loading, 5)
  const response = await post(`${late.url}${ROUTES[0]}`, ASKED)
  expect(response.status).toBe(200)
  // The load fails after the first comment.
  expect(await streamedText(response, fail)).toMatch(
    /^(: keep-alive\n\n)+data: \{"error":\{[\s\S]*"code":"internal_error"\}\}\n\n$/,
  )
})

test('wrong fields are refused before the model is loaded', async () => {
  const { url, engine } = await withLater(() => Promise.reject(new Error('no load was expected')), 5)
  const refusal = await refusalOf(await post(`${url}${ROUTES[0]}`, { ...ASKED, temperature: 7 }))
  expect(refusal).toMatchObject({ status: 400, param: 'temperature' })
  expect(engine.getModelInfo('later')).toBe(undefined)
})

test('the events of a response begin with response.created, also if its model cannot be loaded', async () => {
  let fail = () => {}
  const loading = new Promise<void>((_, reject) => (fail = () => reject(new Error('the disk is gone'))))
  const { url } = await withLater(() => loading, 5)
  const response = await post(`${url}/v1/responses`, bodyOf('/v1/responses'))
  const text = await streamedText(response, fail)
  const types = [...text.matchAll(/^event: (.*)$/gm)].map(([, type]) => type)
  expect(types).toEqual(['response.created', 'response.in_progress', 'response.failed'])
})

test('the load of a model counts for the deadline of a request', async () => {
  const ready = await simulated()
  await ready.engine.registerModel({ id: 'later', chatTemplate: '{{ messages[0].content }}' })
  slow(ready.engine, () => new Promise(() => {}))
  const { url } = await served(ready, { timeoutMs: 50 })
  const refusal = await refusalOf(await post(`${url}${ROUTES[0]}`, { ...ASKED, stream: false }))
  expect(refusal).toMatchObject({ status: 504, code: 'timeout' })
})

test('a request loads the model with its id, not a folder with that name', async () => {
  const ready = await simulated()
  // `docs` is a folder, and holds no model.
  await ready.engine.registerModel({ id: 'docs', chatTemplate: '{{ messages[0].content }}' })
  const { url } = await served(ready)
  const response = await post(`${url}${ROUTES[0]}`, { ...ASKED, model: 'docs', stream: false })
  expect([response.status, ready.engine.getModelInfo('docs')?.loads]).toEqual([200, 1])
})
