// `node tools/build/third-party.mjs`: writes THIRD-PARTY.md, the notices of everything that ships inside the addon or beside
// it. With `--check` it only compares the file with what it would write. Crates come from cargo; third-party/libraries.md
// describes the libraries beside the addon by hand.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { shippedCrates } from './crates.mjs'
import { Failure, main } from './failure.mjs'
import { at } from './repository.mjs'

/** Licences of crates; their texts are in third-party/. */
const TEXTS = ['MIT', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'Zlib']
/** Further licences, of the libraries beside the addon. */
const LIBRARY_TEXTS = ['GCC-exception-3.1', 'GPL-3.0-or-later', 'LGPL-2.1-or-later']
const FILE = at('THIRD-PARTY.md')
const parts = name => readFileSync(at('tools', 'build', 'third-party', name), 'utf8').trim()

/** Copyright lines of the licence texts themselves, which name no holder of a crate. */
const OF_A_LICENCE = /Free Software Foundation/

/** The copyright lines of a crate's licence files, or its authors if the files name none. */
function holders(crate) {
  const folder = dirname(crate.manifest_path)
  const files = readdirSync(folder).filter(name => /^(licen[cs]e|copying|copyright|notice)/i.test(name))
  const lines = files.flatMap(name => readLines(join(folder, name)))
  const named = lines
    .map(line => line.trim())
    .filter(line => /^(Portions )?Copyright\b.*\d{4}/i.test(line) && !OF_A_LICENCE.test(line))
  const found = named.length > 0 ? named : crate.authors.map(author => author.replace(/\s*<.*>/, ''))
  return [...new Set(found)].join('; ').replaceAll('|', '/')
}

function readLines(path) {
  try {
    return readFileSync(path, 'utf8').split('\n')
  } catch {
    return [] // a folder of licence texts; this crate names its holders elsewhere
  }
}

function row(crate) {
  const name = crate.repository ? `[${crate.name}](${crate.repository})` : crate.name
  const licence = crate.license.replaceAll('/', ' OR ').replace(/\s+/g, ' ')
  return `| ${name} | ${crate.version} | ${licence} | ${holders(crate) || `The ${crate.name} authors`} |`
}

function refuseUnknownLicences(crates) {
  const unknown = crates.filter(crate => !TEXTS.some(text => crate.license.includes(text)))
  const named = unknown.map(({ name, license }) => `${name} (${license})`)
  if (named.length > 0) throw new Failure(`third-party/ has no licence text for ${named.join(', ')}.`)
}

async function compose() {
  const crates = await shippedCrates()
  refuseUnknownLicences(crates)
  const sections = [
    parts('libraries.md'),
    '## Rust crates inside the addon',
    'Of several licences a crate offers, the one taken is the first of MIT, Apache-2.0 and the others below.',
    ['| crate | version | licence | copyright |', '|---|---|---|---|', ...crates.map(row)].join('\n'),
    '## Licence texts',
    ...[...TEXTS, ...LIBRARY_TEXTS].map(name => `### ${name}\n\n\`\`\`text\n${parts(`${name}.txt`)}\n\`\`\``),
  ]
  return `${sections.join('\n\n')}\n`
}

await main(async () => {
  const text = await compose()
  if (!process.argv.includes('--check')) writeFileSync(FILE, text)
  else if (!existsSync(FILE) || readFileSync(FILE, 'utf8') !== text) {
    throw new Failure('THIRD-PARTY.md differs from what is shipped. Run: node tools/build/third-party.mjs')
  }
})
