// The live page in a browser, on a server under load. `LIVE_PAGE_CHROMIUM` names the browser, `LIVE_PAGE_SCREENSHOTS` a folder
// for pictures.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { at } from '../build/repository.mjs'
import { Browser } from './chromium.mjs'
import { startLoad } from './load.mjs'

const WINDOWS = {
  desk: { width: 1280, height: 800 },
  phone: { width: 390, height: 844, isPhone: true },
}
const VIEWS = ['light', 'dark'].flatMap(scheme => Object.keys(WINDOWS).map(window => [window, scheme]))
/** Figures that do not change under this load. */
const STILL = ['failed', 'weights', 'batchLimit', 'window']
const LONGEST_MS = 45_000
/** The page asks for figures once a second, and later on a busy machine. */
const POLL = { timeout: 30_000 }

const folder = mkdtempSync(join(tmpdir(), 'mlx-serving-page-'))
let server
let dashboard
let browser
let endLoad

beforeAll(async () => {
  const config = join(folder, 'runtime.json')
  // A short queue, so that bursts exceed it.
  writeFileSync(config, JSON.stringify({ scheduler: { max_pending: 48, batch_size: 16 } }))
  const args = ['serve', '--port', '0', '--dashboard', '0', '--config', config]
  server = spawn(process.execPath, [at('dist', 'cli', 'main.js'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const [url, page] = await Promise.all([
    found(server.stdout, /^(http\S+)\n/),
    found(server.stderr, /dashboard: (\S+)\n/),
  ])
  dashboard = page
  endLoad = startLoad(url)
  browser = new Browser(process.env.LIVE_PAGE_CHROMIUM)
})

afterAll(async () => {
  await endLoad?.()
  await browser?.close()
  server?.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

/** The first group of a match in a stream, once it has arrived. */
async function found(stream, pattern) {
  let text = ''
  for await (const part of stream.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    text += part
    const match = pattern.exec(text)
    if (match === null) continue
    stream.resume()
    return match[1]
  }
  throw new Error(`the server did not start: ${text}`)
}

/** The page in a window, once it shows figures. */
async function opened(settings) {
  const page = await browser.page()
  await page.emulate(settings)
  await page.open(dashboard)
  await expect.poll(() => page.evaluate('document.getElementById("status").textContent'), POLL).toBe('Live')
  return page
}

const FIGURES = `Object.fromEntries([...document.querySelectorAll('[data-field]')].map(place => [place.dataset.field, place.textContent]))`

const LINES = `Object.fromEntries([...document.querySelectorAll('polyline')].map(line => [line.dataset.line, line.getAttribute('points')]))`

test('every figure changes under load, and so do the lines, the meters and the table', async () => {
  const page = await opened(WINDOWS.desk)
  const seen = {}
  const note = (name, value) => {
    seen[name] ??= new Set()
    seen[name].add(value)
  }
  const still = () => Object.keys(seen).filter(name => seen[name].size < 2 && !STILL.includes(name))
  const end = performance.now() + LONGEST_MS
  do {
    for (const [name, text] of Object.entries(await page.evaluate(FIGURES))) note(name, text)
    for (const [name, points] of Object.entries(await page.evaluate(LINES))) note(`line of ${name}`, points)
    note('kv meter', await page.evaluate('document.querySelector("meter[data-share=kv]").value'))
    note('models', await page.evaluate('document.getElementById("models").textContent'))
    await sleep(200)
  } while (still().length > 0 && performance.now() < end)
  expect(still()).toEqual([])
  for (const values of Object.values(seen)) {
    for (const value of values) expect(String(value)).not.toMatch(/NaN|undefined|Infinity|^…?$/)
  }
  expect(page.errors).toEqual([])
  await page.close()
})

test.each(VIEWS)('on a %s in %s: no errors, no scrolling sideways, and readable text', async (window, scheme) => {
  const page = await opened({ ...WINDOWS[window], scheme })
  await sleep(2_500)
  expect(await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')).toBe(0)
  expect(await page.evaluate(LOW_CONTRAST)).toEqual([])
  expect(await page.evaluate(CUT_OFF)).toEqual([])
  expect(page.errors).toEqual([])
  const pictures = process.env.LIVE_PAGE_SCREENSHOTS
  if (pictures) writeFileSync(join(pictures, `${window}-${scheme}.png`), await page.screenshot({ isWhole: true }))
  await page.close()
})

/** Texts whose contrast with their background is below 4.5. */
const LOW_CONTRAST = `(() => {
  const luminance = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(value => {
      const share = value / 255
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = element => {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor
      if (!/, 0\\)$/.test(color)) return color
    }
    return 'rgb(255, 255, 255)'
  }
  const texts = [...document.querySelectorAll('h1, h2, dt, dd, p, th, td, caption, button')].filter(one => one.textContent.trim())
  return texts.flatMap(one => {
    const [high, low] = [luminance(getComputedStyle(one).color), luminance(behind(one))].sort((a, b) => b - a)
    const ratio = (high + 0.05) / (low + 0.05)
    return ratio < 4.5 ? [one.textContent + ': ' + ratio.toFixed(1)] : []
  })
})()`

/** Texts that reach beyond their card. */
const CUT_OFF = `[...document.querySelectorAll('section dd, section dt, section p')]
  .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)`

test('the keyboard reaches the button, then the table, and the focus is visible', async () => {
  const page = await opened(WINDOWS.phone)
  const focused = '(document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent).trim()'
  await page.press('Tab')
  expect(await page.evaluate(focused)).toBe('Pause')
  expect(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid')
  await page.press(' ', ' ')
  expect(await page.evaluate('document.getElementById("status").textContent')).toBe('Paused')
  const before = await page.evaluate(FIGURES)
  await sleep(2_200)
  expect(await page.evaluate(FIGURES)).toEqual(before)
  await page.press(' ', ' ')
  await expect.poll(async () => (await page.evaluate(FIGURES)).completed !== before.completed, POLL).toBe(true)
  await page.press('Tab')
  expect(await page.evaluate(focused)).toBe('Models')
  await page.press('Tab')
  expect(await page.evaluate('document.activeElement === document.body')).toBe(true)
  await page.close()
})

test('everything has a name for screen readers', async () => {
  const page = await opened(WINDOWS.desk)
  const nodes = await page.accessible()
  const named = ['RootWebArea', 'button', 'heading', 'image', 'meter', 'region', 'table', 'columnheader', 'rowheader']
  for (const role of named) {
    const own = nodes.filter(node => node.role === role)
    expect(own.length, role).toBeGreaterThan(0)
    expect(own.filter(({ name }) => name === '' || name === '…').length, role).toBe(0)
  }
  expect(nodes.filter(({ role }) => role === 'main' || role === 'banner').map(({ role }) => role)).toHaveLength(2)
  const levels = nodes.filter(({ role }) => role === 'heading').map(({ name }) => name)
  expect(levels[0]).toBe('mlx-serving')
  await page.close()
})

test('nothing is animated for readers who prefer reduced motion', async () => {
  const page = await opened({ ...WINDOWS.desk, motion: 'reduce' })
  expect(await page.evaluate('document.getAnimations().length')).toBe(0)
  const moving = `[...document.querySelectorAll('*')].filter(one => {
    const { transitionDuration, animationName, scrollBehavior } = getComputedStyle(one)
    return transitionDuration !== '0s' || animationName !== 'none' || scrollBehavior === 'smooth'
  }).length`
  expect(await page.evaluate(moving)).toBe(0)
  await page.close()
})
