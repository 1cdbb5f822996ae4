// Chromium without a window, over the pipe of its DevTools protocol: no library and no port. Debian's package is installed if
// there is no Chromium.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { quiet } from '../build/command.mjs'
import { Failure, main } from '../build/failure.mjs'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
const ON_A_MAC = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'

/** The path of Chromium. Installs it where that is possible. */
export async function chromium() {
  const found = process.env.CHROMIUM ?? installed()
  if (found !== undefined) return found
  if (process.platform !== 'linux' || process.getuid() !== 0) {
    throw new Failure('Chromium was not found. Install it, or name its program in CHROMIUM.')
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  await quiet('apt-get', ['update', '-qq'], { env })
  await quiet('apt-get', ['install', '-qq', '-y', '--no-install-recommends', 'chromium', 'fonts-dejavu-core'], { env })
  return installed() ?? fail('apt-get installed no Chromium.')
}

function installed() {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const candidates = NAMES.flatMap(name => folders.map(folder => join(folder, name)))
  return [...candidates, ON_A_MAC].find(path => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function fail(message) {
  throw new Failure(message)
}

const FLAGS = [
  '--headless=new',
  '--hide-scrollbars',
  '--remote-debugging-pipe',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
]

export class Browser {
  #child
  #profile = mkdtempSync(join(tmpdir(), 'mlx-serving-chromium-'))
  #calls = new Map()
  #listeners = new Map()
  #lastId = 0
  #received = ''

  constructor(path) {
    // Root has no sandbox; the only page that is opened is our own.
    const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : []
    const args = [...FLAGS, ...sandbox, `--user-data-dir=${this.#profile}`, 'about:blank']
    this.#child = spawn(path, args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] })
    this.#child.stdio[4].setEncoding('utf8').on('data', part => this.#receive(part))
    this.#child.once('exit', () => {
      for (const { reject } of this.#calls.values()) reject(new Error('Chromium has ended'))
    })
  }

  /** Calls a method of the protocol. */
  send(method, params = {}, sessionId = undefined) {
    const id = ++this.#lastId
    this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    return new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }))
  }

  /** Opens an empty page. */
  async page() {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true })
    const page = new Page((method, params) => this.send(method, params, sessionId), targetId)
    this.#listeners.set(sessionId, event => page.take(event))
    for (const domain of ['Page', 'Runtime', 'Log', 'Accessibility']) await page.send(`${domain}.enable`)
    return page
  }

  async close() {
    if (this.#child.exitCode === null) {
      const ended = once(this.#child, 'exit')
      this.send('Browser.close').catch(() => {})
      await ended
    }
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 })
  }

  #receive(part) {
    const messages = (this.#received + part).split('\0')
    this.#received = messages.pop()
    for (const message of messages.map(text => JSON.parse(text))) {
      const call = this.#calls.get(message.id)
      this.#calls.delete(message.id)
      if (call === undefined) this.#listeners.get(message.sessionId)?.(message)
      else if (message.error) call.reject(new Error(message.error.message))
      else call.resolve(message.result)
    }
  }
}

class Page {
  /** Errors of the page: exceptions, messages of the console, and what the browser reports. */
  errors = []
  #loaded = () => {}
  #targetId

  constructor(send, targetId) {
    this.send = send
    this.#targetId = targetId
  }

  take({ method, params }) {
    if (method === 'Page.loadEventFired') this.#loaded()
    else if (method === 'Runtime.exceptionThrown') this.errors.push(params.exceptionDetails.text)
    else if (method === 'Runtime.consoleAPICalled' && ['error', 'warning'].includes(params.type)) {
      this.errors.push(params.args.map(({ value, description }) => value ?? description).join(' '))
    } else if (method === 'Log.entryAdded' && params.entry.level === 'error') {
      this.errors.push(`${params.entry.text} ${params.entry.url ?? ''}`)
    }
  }

  /** Sets the size of the window and the preferences of the reader. */
  async emulate({ width, height, isPhone = false, scheme = 'light', motion = 'no-preference' }) {
    const screen = { width, height, deviceScaleFactor: isPhone ? 2 : 1, mobile: isPhone }
    await this.send('Emulation.setDeviceMetricsOverride', screen)
    const features = [
      { name: 'prefers-color-scheme', value: scheme },
      { name: 'prefers-reduced-motion', value: motion },
    ]
    await this.send('Emulation.setEmulatedMedia', { features })
  }

  async open(url) {
    const loaded = new Promise(resolve => {
      this.#loaded = resolve
    })
    const { errorText } = await this.send('Page.navigate', { url })
    if (errorText) throw new Error(`${url}: ${errorText}`)
    await loaded
  }

  /** The value of an expression in the page. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
    return result.value
  }

  async press(key, text) {
    for (const type of ['keyDown', 'keyUp']) {
      const code = key === ' ' ? 'Space' : key
      const virtual = { Tab: 9, ' ': 32, Enter: 13 }[key]
      await this.send('Input.dispatchKeyEvent', { type, key, code, text, windowsVirtualKeyCode: virtual })
    }
  }

  /** The role and name of each node, as screen readers get them. */
  async accessible() {
    const { nodes } = await this.send('Accessibility.getFullAXTree')
    return nodes
      .filter(({ ignored }) => !ignored)
      .map(({ role, name, value }) => ({ role: role?.value, name: name?.value ?? '', value: value?.value }))
  }

  /** A picture of the page as PNG. */
  async screenshot({ isWhole = false } = {}) {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: isWhole })
    return Buffer.from(data, 'base64')
  }

  close() {
    return this.send('Target.closeTarget', { targetId: this.#targetId })
  }
}

// `node tools/live-page/chromium.mjs` installs it, and prints its path.
if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(async () => console.log(await chromium()))
