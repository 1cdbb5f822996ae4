// Reads the options of `serve`.

import { isIP } from 'node:net'
import { constants } from 'node:os'
import type { EngineOptions, LoadModelOptions } from '../../index'
import type { ServeOptions } from '../../server'
import {
  bounded,
  HANDLER_OPTIONS,
  known,
  MAX_MS,
  readFlag,
  readList,
  readNames,
  readSettings,
  readText,
  type Settings,
  wrongOption,
} from './settings'

const OWN_OPTIONS = [
  'host',
  'port',
  'models',
  'engine',
  'allowAnonymous',
  'signals',
  'drainMs',
  'headersTimeoutMs',
  'requestTimeoutMs',
  'keepAliveMs',
  'stallMs',
  'maxHeaderBytes',
  'maxConnections',
] as const satisfies readonly (keyof ServeOptions)[]

/** Checked options of a server. */
export interface ServeSettings {
  readonly settings: Settings
  readonly host: string
  readonly port: number
  readonly models: readonly (string | LoadModelOptions | undefined)[]
  readonly engine: EngineOptions
  readonly signals: readonly NodeJS.Signals[]
  readonly drainMs: number
  readonly headersTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly keepAliveMs: number
  readonly stallMs: number | undefined
  readonly maxHeaderBytes: number
  readonly maxConnections: number
}

export function readServeOptions(options: ServeOptions | undefined): ServeSettings {
  const given = known(options, 'options', [...HANDLER_OPTIONS, ...OWN_OPTIONS])
  const handler = Object.fromEntries(HANDLER_OPTIONS.map(name => [name, given[name]]))
  const host = readText(given.host, 'host') ?? '127.0.0.1'
  const allowAnonymous = readFlag(given.allowAnonymous, 'allowAnonymous')
  const settings = readSettings(optionsAt(host, handler, allowAnonymous), host)
  const models = readList(given.models, 'models') as (string | LoadModelOptions)[]
  const ms = (name: string) => bounded(given[name], name, [1, MAX_MS])
  return {
    settings,
    host,
    port: bounded(given.port, 'port', [0, 65_535]) ?? 8080,
    // Without an argument the engine loads the demo model.
    models: models.length > 0 ? models : [undefined],
    engine: (given.engine ?? {}) as EngineOptions,
    signals: given.signals == null ? ['SIGTERM', 'SIGINT'] : readNames(given.signals, 'signals').map(readSignal),
    drainMs: bounded(given.drainMs, 'drainMs', [0, MAX_MS]) ?? 25_000,
    headersTimeoutMs: ms('headersTimeoutMs') ?? 10_000,
    requestTimeoutMs: ms('requestTimeoutMs') ?? 60_000,
    keepAliveMs: ms('keepAliveMs') ?? 65_000,
    stallMs: ms('stallMs'),
    maxHeaderBytes: bounded(given.maxHeaderBytes, 'maxHeaderBytes', [1024, 2 ** 20]) ?? 16_384,
    maxConnections: bounded(given.maxConnections, 'maxConnections', [1, 1_000_000]) ?? 1024,
  }
}

/** The handler's options. Beyond loopback, `keys` or `allowAnonymous` must be set, and any host name is allowed by default. */
function optionsAt(host: string, handler: Record<string, unknown>, allowAnonymous: boolean): Record<string, unknown> {
  if (isLoopback(host)) return handler
  const hasKeys = Array.isArray(handler.keys) && handler.keys.length > 0
  if (!hasKeys && !allowAnonymous) {
    throw wrongOption('keys', '`keys` are needed to listen beyond loopback; or set `allowAnonymous` to serve everybody')
  }
  return { ...handler, hosts: handler.hosts ?? ['*'] }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

function readSignal(name: string): NodeJS.Signals {
  if (Object.hasOwn(constants.signals, name)) return name as NodeJS.Signals
  throw wrongOption('signals', '`signals` must have names of signals, such as SIGTERM')
}
