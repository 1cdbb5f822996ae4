// `node tools/build/tables.mjs`: writes the tables of options and errors into the pages that have markers for them, from the
// declarations and from the addon's own list of options. With `--check` it only reports pages that are out of date.

import { readFileSync, writeFileSync } from 'node:fs'
import { build } from './build.mjs'
import { errorCodes, fieldsOf } from './declared.mjs'
import { Failure, main } from './failure.mjs'
import { fileKeys, options, shown } from './options.mjs'
import { at, pages } from './repository.mjs'

const cell = text => text.replaceAll('|', '\\|').replace(/\s+/g, ' ')
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map(row => `| ${row.map(cell).join(' | ')} |`).join('\n')

const code = value => (value === undefined || value === '' ? '' : `\`${value}\``)

/** The options that are not in the engine's own table. */
const otherRows = () => {
  const names = new Set(options().map(({ name }) => name))
  const besides = fieldsOf('EngineOptions').filter(({ name }) => !names.has(name))
  return besides.map(({ name, type, standard, text }) => [code(name), code(type), code(standard), text])
}

const range = ({ isSwitch, names, min, max }) =>
  names ? names.map(name => code(shown(name))).join(', ') : isSwitch ? 'on or off' : `${min} to ${max}`

const optionRows = () =>
  options().map(option => [
    code(option.name),
    code(option.variable),
    code(shown(option.default)),
    range(option),
    option.text,
  ])

const presetRows = () =>
  options()
    .filter(({ latency, throughput }) => latency !== undefined || throughput !== undefined)
    .map(option => [
      code(option.name),
      ...[option.latency, undefined, option.throughput].map(value => code(shown(value ?? option.default))),
    ])

/** The keys of a runtime file that differ from the path of their option. */
const keyRows = () => {
  const own = new Map(
    fileKeys()
      .map(({ key, option }) => [option, key])
      .reverse(),
  )
  const others = fileKeys().filter(({ key, option }) => key !== own.get(option))
  return others.map(({ key, option, isDeprecated }) => [code(key), code(option), isDeprecated ? 'deprecated' : ''])
}

const TABLES = {
  others: () => table(['option', 'type', 'default', 'meaning'], otherRows()),
  options: () => table(['option', 'variable', 'default', 'range', 'meaning'], optionRows()),
  presets: () => table(['option', "`'latency'`", "`'balanced'`", "`'throughput'`"], presetRows()),
  keys: () => table(['key', 'option', 'status'], keyRows()),
  errors: () =>
    table(
      ['code', 'class', 'meaning'],
      errorCodes().map(({ code, owner, text }) => [`\`${code}\``, `\`${owner}\``, text]),
    ),
}

function withTables(text) {
  return text.replace(/(<!-- table: (\w+) -->\n).*?(<!-- end -->)/gs, (_, begin, name, end) => {
    if (!TABLES[name]) throw new Failure(`There is no table named ${name}.`)
    return `${begin}\n${TABLES[name]()}\n\n${end}`
  })
}

await main(async () => {
  await build()
  const behind = pages().filter(page => {
    const text = readFileSync(at(page), 'utf8')
    const renewed = withTables(text)
    if (!process.argv.includes('--check')) writeFileSync(at(page), renewed)
    return renewed !== text
  })
  if (process.argv.includes('--check') && behind.length > 0) {
    throw new Failure(`${behind.join(', ')}: tables differ from the declarations. Run: node tools/build/tables.mjs`)
  }
})
