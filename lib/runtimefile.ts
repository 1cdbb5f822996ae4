// Reads the runtime file: finds it, parses its YAML, and lists its values with their lines. The addon knows the keys and checks
// the values. Each problem is a `ConfigError` with the file and, where there is one, the line.

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import path from 'node:path'
import type { LineCounter, Node, ParsedNode } from 'yaml'
import { errorOf } from './errors'
import type { NativeAddon, NativeEntry, NativeFile, NativeSetting } from './native'
import { isAbsent, type Properties, show, take } from './options'

export const OPTION = 'configFile'
export const VARIABLE = 'MLX_RUNTIME_CONFIG'
const ENVIRONMENTS = 'environments'
/** Far more than all keys need. */
const MAX_BYTES = 65_536
/** `uniqueKeys` is off, because it compares each key with all others of its section. `Walk` finds duplicate keys itself. */
const PARSING = { prettyErrors: false, schema: 'core', resolveKnownTags: false, uniqueKeys: false } as const
/** Sections are nested three deep at most. */
const MAX_DEPTH = 8

/** A runtime file, and what named it. */
export interface RuntimeFile {
  readonly file: NativeFile
  readonly source: 'environment' | 'option'
}

/** Warnings that this thread has emitted. */
const emitted = new Set<string>()

/**
 * Reads the runtime file that the options or a variable name; `undefined` if there is none. Takes the option out of the options.
 * Synchronous, so that all settings are read at the same time.
 */
export function readRuntimeFile(options: unknown, environment: NodeJS.ProcessEnv): RuntimeFile | undefined {
  const isGiven = typeof options === 'object' && options !== null && Object.hasOwn(options, OPTION)
  const given = isGiven ? take(options as Properties, OPTION) : undefined
  const variable = environment[VARIABLE]
  if (variable !== undefined) checkName(VARIABLE, variable)
  if (!isAbsent(given)) return { file: parseFile(OPTION, checkName(OPTION, given)), source: 'option' }
  return variable === undefined ? undefined : { file: parseFile(VARIABLE, variable), source: 'environment' }
}

/** The effective value of the option that names the file. */
export function settingOf(file: RuntimeFile | undefined): NativeSetting {
  const found = file === undefined ? { source: 'default' as const } : { value: file.file.path, source: file.source }
  return { name: OPTION, ...found, variable: VARIABLE }
}

/** Emits one process warning for each deprecated key of a file. */
export function warnOfDeprecated({ entries }: NativeFile, addon: NativeAddon): void {
  const known = addon.fileKeys()
  for (const { key } of entries) {
    const found = known.find(each => each.key === key)
    if (!found?.isDeprecated || emitted.has(key)) continue
    emitted.add(key)
    const better = known.find(each => each.option === found.option)?.key
    const message = `the key \`${key}\` of a runtime file is deprecated; use \`${better}\``
    process.emitWarning(message, { type: 'MlxServingWarning', code: 'DeprecatedKey' })
  }
}

function checkName(param: string, value: unknown): string {
  if (typeof value === 'string' && value.trim() !== '' && !value.includes('\0')) return value
  throw wrong(param, `must be the path of a file, not ${show(value)}`)
}

function parseFile(param: string, name: string): NativeFile {
  const file = path.resolve(name)
  const text = readText(param, file)
  // Loaded on demand: most programs have no runtime file.
  const { LineCounter, parseDocument, isMap, isScalar } = require('yaml') as typeof import('yaml')
  const lines = new LineCounter()
  const walk = new Walk(file, lines, { isMap, isScalar })
  const document = parseDocument(text, { ...PARSING, lineCounter: lines })
  // The parser warns of unknown tags, whose values it would take as they are.
  const [problem] = [...document.errors, ...document.warnings]
  if (problem) throw wrong(file, `is not valid YAML: ${problem.message}`, walk.line(problem.pos[0]), problem)
  walk.document(document.contents)
  const environment = process.env.NODE_ENV
  return { path: file, ...(environment && { environment }), entries: walk.entries }
}

function readText(param: string, file: string): string {
  const bytes = readBytes(param, file)
  if (bytes.length > MAX_BYTES) {
    const message = `\`${param}\` is the file ${file}, which has more than ${MAX_BYTES} bytes, the most that are allowed`
    throw errorOf('ConfigError', message, { param, limit: MAX_BYTES })
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw wrong(param, `is the file ${file}, which is not text in UTF-8`, undefined, cause)
  }
}

/** The bytes of a file, at most one more than allowed. */
function readBytes(param: string, file: string): Buffer {
  let descriptor: number | undefined
  try {
    // A named pipe without a writer would block.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
    if (!fstatSync(descriptor).isFile()) throw new Error('it is not a file')
    const bytes = Buffer.alloc(MAX_BYTES + 1)
    let length = 0
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(descriptor, bytes, length, bytes.length - length, null)
    }
    return bytes.subarray(0, length)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw wrong(param, `names a file that cannot be read, ${file}: ${reason}`, undefined, cause)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

type Kinds = Pick<typeof import('yaml'), 'isMap' | 'isScalar'>

/** Lists the values of a parsed file. */
class Walk {
  readonly entries: NativeEntry[] = []
  readonly #file: string
  readonly #lines: LineCounter
  readonly #kinds: Kinds

  constructor(file: string, lines: LineCounter, kinds: Kinds) {
    this.#file = file
    this.#lines = lines
    this.#kinds = kinds
  }

  line(offset: number | undefined): number {
    return this.#lines.linePos(offset ?? 0).line
  }

  /** The whole file: sections, and below `environments` the same sections for each environment. */
  document(contents: ParsedNode | null): void {
    for (const [key, value, line] of this.#pairs(contents, '')) {
      if (key !== ENVIRONMENTS) this.#entry(key, value, line)
      else for (const [name, section] of this.#pairs(value, ENVIRONMENTS)) this.#environment(name, section)
    }
  }

  #environment(name: string, section: Node | null): void {
    for (const [key, value, line] of this.#pairs(section, `${ENVIRONMENTS}.${name}`)) {
      this.#entry(key, value, line, name)
    }
  }

  /** Lists a value, or the values of a section. */
  #entry(key: string, value: Node | null, line: number, environment?: string, depth = 1): void {
    const entry = { key, line, ...(environment !== undefined && { environment }) }
    if (!this.#kinds.isMap(value) || value.items.length === 0 || depth === MAX_DEPTH) {
      this.entries.push({ ...entry, ...this.#value(value) })
      return
    }
    const shown = environment === undefined ? key : `${ENVIRONMENTS}.${environment}.${key}`
    for (const [inner, innerValue, innerLine] of this.#pairs(value, shown)) {
      this.#entry(`${key}.${inner}`, innerValue, innerLine, environment, depth + 1)
    }
  }

  #value(node: Node | null): Pick<NativeEntry, 'value' | 'other'> {
    if (this.#kinds.isMap(node)) return node.items.length === 0 ? {} : { other: 'a section' }
    if (node !== null && !this.#kinds.isScalar(node)) return { other: 'a list' }
    const value = node === null ? null : (node as { value: unknown }).value
    if (value === null || value === undefined) return {}
    if (typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string') return { value }
    return { other: `of type ${typeof value}` }
  }

  /** The keys and values of a section, with the lines of the keys. A section without keys may be left empty. */
  #pairs(node: Node | null, name: string): [string, Node | null, number][] {
    const { isMap, isScalar } = this.#kinds
    if (node === null || (isScalar(node) && node.value === null)) return []
    if (!isMap(node)) {
      const what = name === '' ? 'must hold keys with values' : `has \`${name}\`, which must be a section with keys`
      throw wrong(this.#file, what, this.line(node.range?.[0]))
    }
    const seen = new Set<unknown>()
    return node.items.map(({ key, value }) => {
      const line = this.line((key as Node | null)?.range?.[0])
      const isName = isScalar(key) && typeof key.value === 'string' && !key.value.includes('.')
      const found = isScalar(key) ? show(key.value) : 'a list or a section'
      if (!isName) throw wrong(this.#file, `has a key that is not a name without dots, but ${found}`, line)
      if (seen.has(key.value)) throw wrong(this.#file, `has the key \`${key.value}\` twice in a section`, line)
      seen.add(key.value)
      return [key.value as string, this.#written(value as Node | null, line), line]
    })
  }

  /** Returns a value. Refuses an alias, because aliases could make a short file very long. */
  #written(value: Node | null, line: number): Node | null {
    if (value === null || this.#kinds.isMap(value) || this.#kinds.isScalar(value) || 'items' in value) return value
    throw wrong(this.#file, 'has an alias (`*name`), which is not supported: write the value itself', line)
  }
}

/** The error about a file, or about the option or variable that names it. */
function wrong(subject: string, message: string, line?: number, cause?: unknown): Error {
  const place = line === undefined ? '' : ` (${subject}:${line})`
  return errorOf('ConfigError', `\`${subject}\` ${message}${place}`, { param: subject, cause })
}
