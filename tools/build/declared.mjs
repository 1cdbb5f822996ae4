// Reads index.d.ts and src/error.rs for tables and comparisons: option fields with their documentation, error codes with
// their classes, exported values. Relies on the formatting of these files, and fails if it finds nothing.

import { readFileSync } from 'node:fs'
import { Failure } from './failure.mjs'
import { at } from './repository.mjs'

const read = (...path) => readFileSync(at(...path), 'utf8')
const types = () => read('index.d.ts')

const FIELD = /(?: {2}\/\*\*((?:(?!\*\/).)*)\*\/\n)? {2}(\w+)\??: (.*?)\n/gs

/**
 * The fields of an interface and of its nested interfaces: name with dots, type, default, documentation. `| undefined` is
 * dropped, because every field may be left out.
 */
export function fieldsOf(name, prefix = '') {
  const body = found(new RegExp(`^export interface ${name} \\{\n(.*?)^\\}`, 'ms').exec(types()), `interface ${name}`)
  return [...body.matchAll(FIELD)].flatMap(([, comment, field, declared]) => {
    const type = declared.replace(/ \| undefined$/, '')
    const nested = type.split(' | ').filter(part => new RegExp(`^export interface ${part} \\{`, 'm').test(types()))
    const own = nested.includes(type) ? [] : [{ name: `${prefix}${field}`, type, ...documentation(comment) }]
    return [...own, ...nested.flatMap(part => fieldsOf(part, `${prefix}${field}.`))]
  })
}

function documentation(comment = '') {
  const text = comment.replace(/^\s*\* ?/gm, '').trim()
  const [, standard = ''] = /@default\s+(.*)/.exec(text) ?? []
  return { standard, text: sentence(text.replace(/@default.*/, '')) }
}

const sentence = text =>
  text
    .replace(/\{@link (?:\w+\.)?(\w+)\}/g, '`$1`')
    .replace(/\s+/g, ' ')
    .trim()

/** Every error code with its class and its meaning. */
export function errorCodes() {
  const union = found(/^export type ErrorCode =\n(.*?)\n\n/ms.exec(types()), 'type ErrorCode')
  const classes = errorClasses()
  return [...union.matchAll(/'(\w+)'/g)].map(([, code]) => {
    const owner = classes.find(({ codes }) => codes.includes(code))
    if (!owner) throw new Failure(`index.d.ts names no class for the code ${code}.`)
    return { code, owner: owner.name, text: coreCodes().get(code) ?? owner.text }
  })
}

function errorClasses() {
  const classes = types().matchAll(
    /\/\*\* ((?:`\w+`(?:, )?)+): ([^\n]*?) ?\*\/\nexport declare class (\w+) extends MlxServingError/g,
  )
  return [...classes].map(([, codes, text, name]) => ({
    name,
    codes: codes.match(/\w+/g),
    text: sentence(capital(text)),
  }))
}

const capital = text => text[0].toUpperCase() + text.slice(1)

/** The codes of the engine with their documentation in src/error.rs. */
export function coreCodes() {
  const body = found(/^pub enum Code \{\n(.*?)^\}/ms.exec(read('src', 'error.rs')), 'enum Code in src/error.rs')
  const variants = body.matchAll(/((?: {4}\/\/\/ .*\n)+) {4}(\w+),/g)
  return new Map([...variants].map(([, comment, code]) => [code, sentence(comment.replaceAll('///', ''))]))
}

/** The entries of the package that a program can import: the name, and the file with its types. */
export function entries() {
  const { name, exports } = JSON.parse(read('package.json'))
  const importable = Object.entries(exports).filter(([, entry]) => entry.require)
  return importable.map(([path, entry]) => ({ name: name + path.slice(1), declarations: entry.require.types }))
}

/** Names of the values that an entry exports. */
export function exportedValues({ declarations }) {
  const values = read(declarations).matchAll(/^export declare (?:function|class|const) (\w+)/gm)
  return [...new Set([...values].map(([, name]) => name))].sort()
}

function found(match, what) {
  if (match) return match[1]
  throw new Failure(`${what} was not found. The documentation is made from it.`)
}
