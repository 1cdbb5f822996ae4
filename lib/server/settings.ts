// Reads the options of a handler and of a server. A wrong one is a ConfigError that names it.

import type { HandlerOptions, ServerKey } from '../../server'
import { errorOf, type MlxServingError } from '../errors'
import { isAbsent, readKnown, show } from '../options'
import { LONGEST_TIMER_MS } from '../timers'

export const MAX_MS = LONGEST_TIMER_MS
const LARGEST_BODY = 2 ** 30
const DEFAULT_HEARTBEAT_MS = 15_000

/** Checked options of a handler. */
export interface Settings {
  readonly keys: readonly Key[]
  readonly hosts: readonly string[]
  readonly origins: readonly string[]
  readonly aliases: ReadonlyMap<string, string>
  readonly maxBodyBytes: number
  readonly maxTokens: number | undefined
  readonly timeoutMs: number | undefined
  readonly heartbeatMs: number
  readonly responses: { readonly maxEntries: number; readonly maxBytes: number }
  readonly onError: (error: unknown) => void
}

export interface Key {
  readonly key: string
  readonly tenant: string
  readonly priority: 'urgent' | 'default' | 'background'
}

export const HANDLER_OPTIONS = [
  'keys',
  'hosts',
  'origins',
  'aliases',
  'maxBodyBytes',
  'maxTokens',
  'timeoutMs',
  'heartbeatMs',
  'responses',
  'onError',
] as const satisfies readonly (keyof HandlerOptions)[]

const LOOPBACK_HOSTS = ['localhost', '127.0.0.1', '[::1]']

/** `host`: the name or address that the server listens at. */
export function readSettings(options: HandlerOptions | undefined, host = 'localhost'): Settings {
  const given = known(options, 'options', HANDLER_OPTIONS)
  const keys = readList(given.keys, 'keys').map(readKey)
  const responses = known(given.responses, 'responses', ['maxEntries', 'maxBytes'])
  const hosts = readNames(given.hosts, 'hosts').map(name => name.toLowerCase())
  return {
    keys,
    hosts: hosts.length > 0 ? hosts : keys.length > 0 ? ['*'] : [...LOOPBACK_HOSTS, host],
    origins: readNames(given.origins, 'origins'),
    aliases: readAliases(given.aliases),
    maxBodyBytes: bounded(given.maxBodyBytes, 'maxBodyBytes', [1, LARGEST_BODY]) ?? 2 ** 25,
    maxTokens: bounded(given.maxTokens, 'maxTokens', [1, Number.MAX_SAFE_INTEGER]),
    timeoutMs: bounded(given.timeoutMs, 'timeoutMs', [1, Number.MAX_SAFE_INTEGER]),
    heartbeatMs: bounded(given.heartbeatMs, 'heartbeatMs', [1, MAX_MS]) ?? DEFAULT_HEARTBEAT_MS,
    responses: {
      maxEntries: bounded(responses.maxEntries, 'responses.maxEntries', [0, 1_000_000]) ?? 1000,
      maxBytes: bounded(responses.maxBytes, 'responses.maxBytes', [0, Number.MAX_SAFE_INTEGER]) ?? 2 ** 26,
    },
    onError: guarded(readFunction(given.onError, 'onError') ?? console.error),
  }
}

/** The properties of an options object, all of which must be known. */
export function known(value: unknown, name: string, names: readonly string[]): Record<string, unknown> {
  try {
    return readKnown(value, name, names)
  } catch (error) {
    const { message, param } = error as MlxServingError
    throw wrongOption(param ?? name, message)
  }
}

/** A whole number within its bounds; `undefined` if absent. */
export function bounded(value: unknown, name: string, [min, max]: [number, number]): number | undefined {
  if (isAbsent(value)) return undefined
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  throw wrongOption(name, `\`${name}\` must be a whole number from ${min} to ${max}, not ${show(value)}`)
}

export function readText(value: unknown, name: string): string | undefined {
  if (isAbsent(value)) return undefined
  if (typeof value === 'string' && value !== '') return value
  throw wrongOption(name, `\`${name}\` must be a text that is not empty, not ${show(value)}`)
}

export function readFlag(value: unknown, name: string): boolean {
  if (isAbsent(value)) return false
  if (typeof value === 'boolean') return value
  throw wrongOption(name, `\`${name}\` must be true or false, not ${show(value)}`)
}

export function readList(value: unknown, name: string): unknown[] {
  if (isAbsent(value)) return []
  if (Array.isArray(value)) return value
  throw wrongOption(name, `\`${name}\` must be an array, not ${show(value)}`)
}

export function readNames(value: unknown, name: string): string[] {
  return readList(value, name).map(
    (entry, index) => readText(entry, `${name}[${index}]`) ?? missing(`${name}[${index}]`),
  )
}

export function wrongOption(param: string, message: string): MlxServingError {
  return errorOf('ConfigError', message, { param })
}

function missing(name: string): never {
  throw wrongOption(name, `\`${name}\` is missing`)
}

function readFunction(value: unknown, name: string): ((error: unknown) => void) | undefined {
  if (isAbsent(value)) return undefined
  if (typeof value === 'function') return value as (error: unknown) => void
  throw wrongOption(name, `\`${name}\` must be a function, not ${show(value)}`)
}

/** A listener that throws must not end the work that reports to it. */
function guarded(listener: (error: unknown) => void): (error: unknown) => void {
  return error => {
    try {
      listener(error)
    } catch (thrown) {
      console.error(thrown)
    }
  }
}

/** The value of a key is in no message. */
function readKey(value: unknown, index: number): Key {
  const name = `keys[${index}]`
  const given =
    typeof value === 'string' ? { key: value } : (known(value, name, ['key', 'tenant', 'priority']) as object)
  const { key, tenant, priority = 'default' } = given as Partial<ServerKey>
  if (typeof key !== 'string' || key === '') throw wrongOption(name, `\`${name}\` must have a key that is not empty`)
  if (!isPriority(priority)) {
    throw wrongOption(name, `\`${name}.priority\` must be 'urgent', 'default' or 'background', not ${show(priority)}`)
  }
  return { key, tenant: readText(tenant, `${name}.tenant`) ?? `key-${index + 1}`, priority }
}

function isPriority(value: unknown): value is Key['priority'] {
  return value === 'urgent' || value === 'default' || value === 'background'
}

function readAliases(value: unknown): ReadonlyMap<string, string> {
  if (isAbsent(value)) return new Map()
  if (typeof value !== 'object' || Array.isArray(value)) throw wrongOption('aliases', '`aliases` must be an object')
  const entries = Object.entries(value as object)
  return new Map(entries.map(([name, id]) => [name, readText(id, `aliases.${name}`) ?? missing(`aliases.${name}`)]))
}
