// Reads the fields of a request's JSON. A value that is not understood is an error that names the field. A field that is not
// known is left out, and listed for the warning header. `null` means absent, as in the APIs.

import { show } from '../options'
import { HttpError } from './problem'

export class Fields {
  readonly #values: Record<string, unknown>
  readonly #path: string
  readonly #read = new Set<string>()

  constructor(value: unknown, path = '') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw wrong(path, `must be an object, not ${show(value)}`)
    }
    this.#values = value as Record<string, unknown>
    this.#path = path
  }

  /** The name of a field, with those of the objects around it. */
  at(name: string): string {
    return this.#path === '' ? name : `${this.#path}.${name}`
  }

  /** A value that is passed on unchecked. */
  raw(name: string): unknown {
    this.#read.add(name)
    return Object.hasOwn(this.#values, name) ? (this.#values[name] ?? undefined) : undefined
  }

  text(name: string): string | undefined {
    const value = this.raw(name)
    if (value === undefined || typeof value === 'string') return value
    throw this.#wrong(name, `must be a string, not ${show(value)}`)
  }

  number(name: string, [min, max]: [number, number]): number | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    if (typeof value === 'number' && value >= min && value <= max) return value
    throw this.#wrong(name, `must be a number from ${min} to ${max}, not ${show(value)}`)
  }

  integer(name: string, [min, max]: [number, number]): number | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
    throw this.#wrong(name, `must be a whole number from ${min} to ${max}, not ${show(value)}`)
  }

  flag(name: string): boolean | undefined {
    const value = this.raw(name)
    if (value === undefined || typeof value === 'boolean') return value
    throw this.#wrong(name, `must be true or false, not ${show(value)}`)
  }

  oneOf<const T extends string>(name: string, allowed: readonly T[]): T | undefined {
    const value = this.raw(name)
    if (value === undefined || allowed.includes(value as T)) return value as T | undefined
    throw this.#wrong(name, `must be ${allowed.map(one => `'${one}'`).join(' or ')}, not ${show(value)}`)
  }

  list(name: string): unknown[] | undefined {
    const value = this.raw(name)
    if (value === undefined || Array.isArray(value)) return value
    throw this.#wrong(name, `must be an array, not ${show(value)}`)
  }

  /** The objects of an array. */
  objects(name: string): Fields[] | undefined {
    return this.list(name)?.map((value, index) => new Fields(value, `${this.at(name)}[${index}]`))
  }

  object(name: string): Fields | undefined {
    const value = this.raw(name)
    return value === undefined ? undefined : new Fields(value, this.at(name))
  }

  /** An object that is passed on, such as a schema. */
  plain(name: string): object | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    new Fields(value, this.at(name))
    return value as object
  }

  /** A text, or the texts of an array. */
  texts(name: string): string[] | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    const texts = Array.isArray(value) ? value : [value]
    if (texts.every(text => typeof text === 'string')) return texts
    throw this.#wrong(name, 'must be a string or an array of strings')
  }

  need<T>(name: string, value: T | undefined): T {
    if (value !== undefined) return value
    throw this.#wrong(name, 'is missing', 'missing_required_parameter')
  }

  /** Refuses a field that has a value other than these, which change nothing. */
  only(name: string, harmless: readonly unknown[]): void {
    const value = this.raw(name)
    if (value === undefined || harmless.includes(value)) return
    throw this.#wrong(name, 'is not supported', 'unsupported_parameter')
  }

  fail(name: string, message: string, code?: string): never {
    throw this.#wrong(name, message, code)
  }

  /** The names of fields that were not read. */
  unread(): string[] {
    return Object.entries(this.#values)
      .filter(([name, value]) => value !== null && !this.#read.has(name))
      .map(([name]) => name)
  }

  #wrong(name: string, message: string, code?: string): HttpError {
    return wrong(this.at(name), message, code)
  }
}

export function wrong(param: string, message: string, code = 'invalid_value'): HttpError {
  const subject = param === '' ? 'the body' : `\`${param}\``
  return new HttpError(400, code, `${subject} ${message}`, param === '' ? {} : { param })
}
