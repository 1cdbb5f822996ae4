// `node tools/build/tables.mjs`: writes the tables of options and errors into the pages that have a place for them, made
// from the declarations. With `--check` it only says which pages are behind.

import { readFileSync, writeFileSync } from 'node:fs'
import { errorCodes, fieldsOf } from './declared.mjs'
import { Failure, main } from './failure.mjs'
import { at, pages } from './repository.mjs'

const cell = text => text.replaceAll('|', '\\|').replace(/\s+/g, ' ')
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map(row => `| ${row.map(cell).join(' | ')} |`).join('\n')

const optionRows = name =>
  fieldsOf(name).map(field => [
    `\`${field.name}\``,
    `\`${field.type}\``,
    field.standard && `\`${field.standard}\``,
    field.text,
  ])

const TABLES = {
  options: () => table(['option', 'type', 'default', 'meaning'], optionRows('EngineOptions')),
  errors: () =>
    table(
      ['code', 'class', 'meaning'],
      errorCodes().map(({ code, owner, text }) => [`\`${code}\``, `\`${owner}\``, text]),
    ),
}

function withTables(text) {
  return text.replace(/(<!-- table: (\w+) -->\n).*?(<!-- end -->)/gs, (_, begin, name, end) => {
    if (!TABLES[name]) throw new Failure(`There is no table called ${name}.`)
    return `${begin}\n${TABLES[name]()}\n\n${end}`
  })
}

await main(() => {
  const behind = pages().filter(page => {
    const text = readFileSync(at(page), 'utf8')
    const renewed = withTables(text)
    if (!process.argv.includes('--check')) writeFileSync(at(page), renewed)
    return renewed !== text
  })
  if (process.argv.includes('--check') && behind.length > 0) {
    throw new Failure(`${behind.join(', ')}: tables are behind the declarations. Run: node tools/build/tables.mjs`)
  }
})
