// Requests for models that are loaded first: headers and comments meanwhile, and loads that fail.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Engine } from 'mlx-serving'
import { expect, test } from 'vitest'
import { post, refusalOf, type Served, served } from './serving.js'
import { simulated } from './support.js'

const ASKED = { model: 'later', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 5, stream: true }
const ROUTES = ['/v1/chat/completions', '/v1/messages', '/v1/responses'] as const
const bodyOf = (route: string) => (route === '/v1/responses' ? { model: 'later', input: 'Hello', stream: true } : ASKED)

/** A server with a model that is known and not loaded; a load takes as long as `wait` says. */
async function withLater(wait: () => Promise<void>, heartbeatMs: number): Promise<Served> {
  const ready = await simulated()
  await ready.engine.registerModel({ id: 'later', chatTemplate: '{{ messages[0].content }}' })
  slow(ready.engine, wait)
  return served(ready, { heartbeatMs })
}

function slow(engine: Engine, wait: () => Promise<void>): void {
  const load = engine.loadModel.bind(engine)
  engine.loadModel = async model => {
    await wait()
    return load(model)
  }
}

test.each(ROUTES)('%s sends headers and comments while its model is loaded, and then the answer', async route => {
  let finish = () => {}
  const loading = new Promise<void>(resolve => (finish = resolve))
  const { url, engine } = await withLater(() => loading, 5)
  const response = await post(`${url}${route}`, bodyOf(route))
  expect(response.status).toBe(200)
  expect(engine.getModelInfo('later')).toBe(undefined)
  finish()
  expect(await response.text()).toMatch(
    /^(: keep-alive\n\n)+(event|data): [\s\S]*(\[DONE\]|message_stop|response\.completed)/,
  )
})

test('a load that fails soon has its status, and a later one is an event of the stream', async () => {
  const failing = (ms: number) => async () => {
    await sleep(ms)
    throw new Error('the disk is gone')
  }
  const soon = await withLater(failing(0), 10_000)
  expect(await refusalOf(await post(`${soon.url}${ROUTES[0]}`, ASKED))).toMatchObject({ status: 500 })
  const late = await withLater(failing(50), 5)
  const response = await post(`${late.url}${ROUTES[0]}`, ASKED)
  expect(response.status).toBe(200)
  expect(await response.text()).toMatch(/^(: keep-alive\n\n)+data: \{"error":\{[\s\S]*"code":"internal_error"\}\}\n\n$/)
})

test('wrong fields are refused before the model is loaded', async () => {
  const { url, engine } = await withLater(() => Promise.reject(new Error('no load was expected')), 5)
  const refusal = await refusalOf(await post(`${url}${ROUTES[0]}`, { ...ASKED, temperature: 7 }))
  expect(refusal).toMatchObject({ status: 400, param: 'temperature' })
  expect(engine.getModelInfo('later')).toBe(undefined)
})
