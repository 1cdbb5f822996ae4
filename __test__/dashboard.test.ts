// The live page of `mlx-serving serve --dashboard`: its figures, access to them, and its script in a DOM.

import { createHash } from 'node:crypto'
import { request } from 'node:http'
import { Window } from 'happy-dom'
import { expect, onTestFinished, test } from 'vitest'
import { cli, type Serving, serving } from './cli.js'
import { until } from './support.js'

const QUESTION = 'a confidential question'

interface Look {
  fields: Record<string, string>
  shares: Record<string, number>
  series: Record<string, number | null>
  models: string[][]
}

async function withDashboard(profile = 'instant'): Promise<{ server: Serving; url: string }> {
  const server = await serving(['serve', '--port', '0', '--dashboard', '0', '--simulated', profile])
  await until(() => server.stderr().includes('\n'))
  return { server, url: /dashboard: (\S+)/.exec(server.stderr())![1]! }
}

async function ask({ url }: Serving): Promise<void> {
  const body = { model: 'demo', max_tokens: 20, messages: [{ role: 'user', content: QUESTION }] }
  const response = await fetch(`${url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(body) })
  expect(response.status).toBe(200)
  await response.text()
}

const lookAt = async (url: string) => (await (await fetch(`${url}/stats`)).json()) as Look

test('the figures follow the requests, and contain no text of a request', async () => {
  const { server, url } = await withDashboard()
  const before = await lookAt(url)
  expect(before.fields).toMatchObject({ completed: '0', ttftP50: 'none yet', shared: '0 %' })
  await ask(server)
  await ask(server)
  const after = await lookAt(url)
  expect(after.fields).toMatchObject({
    completed: '2',
    failed: '0',
    running: '0',
    ttftP50: expect.stringMatching(/\d m?s$/),
  })
  // Rates are of whole seconds.
  await expect.poll(async () => (await lookAt(url)).series.tokensPerSecond, { timeout: 5_000 }).toBeGreaterThan(0)
  expect(after.models.map(([id]) => id)).toEqual(['demo'])
  expect(JSON.stringify(after)).not.toContain('confidential')
})

test('requests that begin alike show as hits of the prefix cache', async () => {
  const { server, url } = await withDashboard()
  const system = 'You answer in short sentences, and only what was asked. '.repeat(10)
  const body = (content: string) => ({
    model: 'demo',
    max_tokens: 4,
    messages: [
      { role: 'system', content: system },
      { role: 'user', content },
    ],
  })
  for (const question of ['One?', 'Two?']) {
    const sent = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify(body(question)),
    })
    await sent.text()
  }
  const { fields } = await lookAt(url)
  expect(fields.prefixHits).toBe('50 % of 2 prompts')
  expect(fields.prefixTokens).toMatch(/^[1-9][\d,]* of [\d,]+$/)
  expect(Number(fields.prefixKept)).toBeGreaterThan(0)
})

test('a port of the dashboard that is taken is reported before the model is loaded', async () => {
  const { url } = await withDashboard()
  const { code, stderr } = await cli([
    'serve',
    '--port',
    '0',
    '--dashboard',
    new URL(url).port,
    '-m',
    './no-such-model',
  ])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^EADDRINUSE: .*--dashboard/) })
})

test('the page is served to this machine only, and its policy allows its own script and style only', async () => {
  const { url } = await withDashboard()
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  const page = await fetch(url)
  const text = await page.text()
  const policy = page.headers.get('content-security-policy')!
  for (const [kind, tag] of [
    ['script-src', 'script'],
    ['style-src', 'style'],
  ] as const) {
    const content = new RegExp(`<${tag}>(.*)</${tag}>`, 's').exec(text)![1]!
    expect(policy).toContain(`${kind} 'sha256-${createHash('sha256').update(content).digest('base64')}'`)
  }
  expect((await fetch(url, { method: 'POST' })).status).toBe(405)
  expect((await fetch(`${url}/other`)).status).toBe(404)
  // A page of another site sends this if its host name resolves to this address.
  const status = await new Promise(resolve => {
    request(`${url}/stats`, { headers: { host: 'evil.example' } }, response => resolve(response.statusCode)).end()
  })
  expect(status).toBe(403)
})

/** Opens the page as a browser does, with its script. */
async function opened(url: string): Promise<Window['document']> {
  // The page is ours, so its script may run in this process.
  const settings = { enableJavaScriptEvaluation: true, suppressInsecureJavaScriptEnvironmentWarning: true }
  const window = new Window({ url: `${url}/`, settings })
  onTestFinished(() => window.happyDOM.close())
  window.document.write(await (await fetch(url)).text())
  return window.document
}

test('the page shows every figure, and the models in a table', async () => {
  const { server, url } = await withDashboard()
  await ask(server)
  const document = await opened(url)
  await until(() => document.getElementById('status')?.textContent === 'Live')
  const { fields, shares, series } = await lookAt(url)
  const places = [...document.querySelectorAll('[data-field]')]
  expect(places.map(place => place.getAttribute('data-field')).sort()).toEqual(Object.keys(fields).sort())
  expect(places.filter(place => ['…', ''].includes(place.textContent))).toEqual([])
  expect(document.querySelector('[data-field=completed]')?.textContent).toBe('1')
  const meters = [...document.querySelectorAll('meter')].map(meter => meter.getAttribute('data-share'))
  expect(meters.sort()).toEqual(Object.keys(shares).sort())
  const row = document.querySelector('#models tr')
  expect(row?.children).toHaveLength(document.querySelectorAll('thead th').length)
  expect(row?.querySelector('th[scope=row]')?.textContent).toBe('demo')
  const lines = [...document.querySelectorAll('polyline')]
  expect(lines.map(line => line.getAttribute('data-line')).sort()).toEqual(Object.keys(series).sort())
  for (const line of lines) expect(line.getAttribute('points')).toMatch(/^[\d.]+,[\d.]+/)
})

test('the page has names and states for screen readers, can be paused, and shows that the server ended', async () => {
  const { server, url } = await withDashboard()
  const document = await opened(url)
  const status = document.getElementById('status')!
  await until(() => status.textContent === 'Live')
  expect(document.querySelector('html')?.getAttribute('lang')).toBe('en')
  expect(status.getAttribute('role')).toBe('status')
  for (const named of document.querySelectorAll('[aria-labelledby]')) {
    const ids = named.getAttribute('aria-labelledby')!.split(' ')
    expect(ids.filter(id => document.getElementById(id) === null)).toEqual([])
  }
  const pause = document.querySelector('button')!
  pause.click()
  expect([status.textContent, pause.getAttribute('aria-pressed')]).toEqual(['Paused', 'true'])
  pause.click()
  expect([status.textContent, pause.getAttribute('aria-pressed')]).toEqual(['Live', 'false'])
  server.kill('SIGTERM')
  expect((await server.exit).code).toBe(0)
  await until(() => status.textContent === 'The server does not answer')
})
