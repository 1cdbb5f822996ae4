// `mlx-serving serve`: an HTTP server with the APIs of OpenAI, Anthropic and Ollama. The first signal closes it when its requests
// have ended, a second one at once.

import { readFile } from 'node:fs/promises'
import type { RunningServer, ServeOptions } from '../../server'
import { serve as start } from '../server/serve'
import { type Dashboard, openDashboard } from './dashboard'
import { CommandError, wrongUsage } from './exits'
import { interruptible } from './interrupts'
import { ProgressBar } from './progressbar'
import { type EngineFlags, engineOptionsOf } from './session'
import { pathOf } from './storedmodels'
import { isWatched, note, paint, printable, printLine } from './terminal'
import { millisecondsOf } from './values'

export interface ServeCommandOptions extends EngineFlags {
  readonly model?: readonly string[]
  readonly host: string
  readonly port: number
  /** A file with a key on each line. */
  readonly keys?: string
  readonly allowAnonymous?: boolean
  readonly origin?: readonly string[]
  readonly alias?: readonly string[]
  readonly maxTokens?: number
  /** Seconds. */
  readonly timeout?: number
  /** The port of the live page. */
  readonly dashboard?: number | true
}

/** The port of the live page, if none is given. */
const DASHBOARD_PORT = 8090

export async function serve(options: ServeCommandOptions): Promise<void> {
  const settings = await settingsOf(options)
  await interruptible(async signal => {
    const dashboard = await dashboardOf(options.dashboard)
    try {
      await run(settings, { names: options.model ?? [], signal, dashboard })
    } finally {
      dashboard?.close()
    }
  })
}

function dashboardOf(port: number | true | undefined): Promise<Dashboard> | undefined {
  if (port === undefined) return undefined
  return openDashboard(port === true ? DASHBOARD_PORT : port).catch(error => {
    throw (error as NodeJS.ErrnoException).code === 'EADDRINUSE' ? portTaken(error) : error
  })
}

const portTaken = ({ message }: Error) =>
  new CommandError('EADDRINUSE', message, { hint: 'choose another port for the live page with --dashboard PORT' })

interface Run {
  readonly names: readonly string[]
  readonly signal: AbortSignal
  readonly dashboard: Dashboard | undefined
}

/** Serves until the server has closed. */
async function run(settings: ServeOptions, { names, signal, dashboard }: Run): Promise<void> {
  const server = await open(settings, names, signal)
  const close = () => void server.close()
  signal.addEventListener('abort', close)
  if (signal.aborted) close()
  try {
    dashboard?.show(server.engine)
    await announce(server)
    if (dashboard !== undefined) process.stderr.write(`dashboard: ${dashboard.url}\n`)
    await server.closed
  } finally {
    await server.close()
  }
}

async function settingsOf(options: ServeCommandOptions): Promise<ServeOptions> {
  const { host, port, allowAnonymous, origin: origins, maxTokens, timeout } = options
  const timeoutMs = timeout === undefined ? undefined : millisecondsOf(timeout)
  const keys = options.keys === undefined ? undefined : await keysIn(options.keys)
  const aliases = options.alias && Object.fromEntries(options.alias.map(aliasOf))
  const engine = engineOptionsOf(options)
  // Signals are handled here, because they also end a load.
  return { host, port, allowAnonymous, origins, maxTokens, timeoutMs, keys, aliases, engine, signals: [] }
}

async function keysIn(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(error => {
    throw wrongUsage(`the file of --keys cannot be read: ${(error as Error).message}`)
  })
  const keys = text
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !line.startsWith('#'))
  if (keys.length === 0) throw wrongUsage(`${file} has no keys`, 'write one on each line')
  return keys
}

function aliasOf(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)]
  throw wrongUsage(`--alias ${text} must be NAME=MODEL`)
}

async function open(settings: ServeOptions, names: readonly string[], signal: AbortSignal): Promise<RunningServer> {
  const bar = new ProgressBar()
  const loads = { signal, onProgress: bar.update }
  const paths = await Promise.all(names.map(pathOf))
  const models = paths.length > 0 ? paths.map(path => ({ path, ...loads })) : [loads]
  try {
    return await start({ ...settings, models })
  } finally {
    bar.end()
  }
}

async function announce({ url, engine }: RunningServer): Promise<void> {
  // The address alone, so that scripts can use it.
  await printLine(url)
  if (!isWatched()) return
  const ids = engine.listModels().map(({ id }) => printable(id))
  note(
    `${paint('bold', ids.join(', '), process.stderr)}: the APIs of OpenAI and Anthropic at ${url}/v1, of Ollama at ${url}; Ctrl-C ends it`,
  )
  note(`curl ${url}/v1/chat/completions -H 'content-type: application/json' \\`)
  note(`  -d '{"model": "${ids[0]}", "messages": [{"role": "user", "content": "Hello"}]}'`)
}
