// Reads the objects that callers pass. Each property is read once: a getter may throw, and a proxy may return another
// value the second time. Rust validates the values, except those that only concern JavaScript.

import { types } from 'node:util'
import { errorOf, invalid } from './errors'

/** The most token ids of one call. Reading more would block the event loop for too long. */
const MAX_TOKENS = 2 ** 20
/** The most UTF-16 code units of a text. The addon has the same limit for the bytes of a prompt. */
const MAX_TEXT = 2 ** 25
/** Error messages show at most this many characters of a string. */
const MAX_SHOWN = 40

/** A copy of a caller's object. It has no prototype, so that no inherited property counts as an option. */
export type Properties = Record<string, unknown>

/** Copies the own enumerable properties of an object. As in the addon, `null` and `undefined` mean absent. */
export function read(value: unknown, name: string): Properties {
  const properties: Properties = Object.create(null)
  if (isAbsent(value)) return properties
  if (typeof value !== 'object' || isArray(value, name)) throw invalid(name, 'must be an object')
  return reading(name, () => Object.assign(properties, value))
}

/** Whether an option was not given. */
export function isAbsent(value: unknown): value is null | undefined {
  return value === null || value === undefined
}

/** Whether it is an array or a proxy of one. A revoked proxy is an error. */
export function isArray(value: unknown, name: string): value is unknown[] {
  return reading(name, () => Array.isArray(value))
}

/** Runs a synchronous function that reads a caller's object. An error of a getter or trap becomes the `cause`. */
export function reading<T>(name: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    throw invalid(name, 'could not be read: a property of it threw', cause)
  }
}

/** Like {@link read}; a property that is not in `known` is an error. */
export function readKnown(value: unknown, name: string, known: readonly string[]): Properties {
  const properties = read(value, name)
  for (const key of Object.keys(properties)) {
    if (!known.includes(key)) throw invalid(key, `is not an option of \`${name}\`; known are: ${known.join(', ')}`)
  }
  return properties
}

/** Removes a property and returns it. */
export function take(properties: Properties, key: string): unknown {
  const value = properties[key]
  delete properties[key]
  return value
}

/** A duration in milliseconds. */
export function readMs(value: unknown, name: string, absent: number): number {
  if (isAbsent(value)) return absent
  if (typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER) return value
  throw invalid(name, `must be a number of milliseconds, not ${show(value)}`)
}

/** Reads token ids, which must be below `vocabSize`. Their array may come from another realm, as in Jest. */
export function readTokens(value: unknown, name: string, vocabSize: number): Uint32Array {
  if (!types.isUint32Array(value) && !isArray(value, name)) {
    throw invalid(name, 'must be an array of token ids or a Uint32Array')
  }
  const tokens = new Uint32Array(readLength(value, name))
  // An element may be a getter that throws. One function reads all elements, as a closure for each would be slow.
  const at = { index: 0 }
  const next = () => value[at.index]
  for (let i = 0; i < tokens.length; i++) {
    at.index = i
    const id = reading(name, next)
    const isId = typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocabSize
    if (!isId) throw invalid(name, `must hold token ids, whole numbers below ${vocabSize}; at ${i} is ${show(id)}`)
    tokens[i] = id
  }
  return tokens
}

/** The length of a list of token ids. A proxy may return any value, so it is checked. */
function readLength(value: ArrayLike<unknown>, name: string): number {
  const length = reading(name, () => Number(value.length))
  if (length >= 0 && length <= MAX_TOKENS) return length
  const message = `\`${name}\` has ${length} entries; at most ${MAX_TOKENS} are allowed`
  throw errorOf('InvalidParams', message, { param: name, limit: MAX_TOKENS, requested: length })
}

/** Reads a string param. */
export function readString(value: unknown, name: string): string {
  if (typeof value !== 'string') throw invalid(name, `must be a string, not ${show(value)}`)
  return value
}

/** Reads a text, up to the largest length. */
export function readText(value: unknown, name: string): string {
  const text = readString(value, name)
  if (text.length <= MAX_TEXT) return text
  const message = `\`${name}\` has ${text.length} characters; at most ${MAX_TEXT} are allowed`
  throw errorOf('InvalidParams', message, { param: name, limit: MAX_TEXT, requested: text.length })
}

/** A wrong value for error messages: short, and without calling any code of the caller. */
export function show(value: unknown): string {
  if (value === null || value === undefined || typeof value === 'boolean' || typeof value === 'number')
    return `${value}`
  if (typeof value === 'string') {
    return value.length <= MAX_SHOWN ? JSON.stringify(value) : `${JSON.stringify(value.slice(0, MAX_SHOWN))}…`
  }
  if (types.isProxy(value)) return 'a proxy'
  if (types.isPromise(value)) return 'a promise'
  return Array.isArray(value) ? 'an array' : `of type ${typeof value}`
}
