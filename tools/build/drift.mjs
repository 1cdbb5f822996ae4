// `npm run check:drift`: compares what is written in two places: versions, exported names, error codes, options, tables,
// paths and code in the documentation, third-party notices. Also checks that Cargo.lock names crates.io only, and that npm's lock
// files have a digest for each package.

import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { build } from './build.mjs'
import { quiet } from './command.mjs'
import { coreCodes, entries, errorCodes, exportedValues, fieldsOf } from './declared.mjs'
import { Failure, main } from './failure.mjs'
import { declarationOf, options } from './options.mjs'
import { checkPaths } from './paths.mjs'
import { at, readJson } from './repository.mjs'
import { checkSnippets } from './snippets.mjs'
import { phase } from './terminal.mjs'

const CRATES_IO = 'registry+https://github.com/rust-lang/crates.io-index'

function compare(what, expected, found) {
  const [a, b] = [expected, found].map(value => JSON.stringify(value))
  if (a !== b) throw new Failure(`${what}\n  expected ${a}\n  found    ${b}`)
}

function checkVersions() {
  const [, version] = /^version = "(.*)"/m.exec(readFileSync(at('Cargo.toml'), 'utf8'))
  const packages = [
    'package.json',
    'package-lock.json',
    ...readdirSync(at('npm')).map(name => `npm/${name}/package.json`),
  ]
  for (const path of packages) compare(`${path}: the version must be Cargo.toml's`, version, readJson(at(path)).version)
  if (!readFileSync(at('CHANGELOG.md'), 'utf8').includes(`## [${version}]`)) {
    throw new Failure(`CHANGELOG.md has no section for ${version}.`)
  }
}

async function checkExports(entry) {
  const declared = exportedValues(entry)
  const names = exported =>
    Object.keys(exported)
      .filter(name => name !== 'default' && name !== 'module.exports')
      .sort()
  compare(
    `require('${entry.name}') must export what ${entry.declarations} declares`,
    declared,
    names(createRequire(import.meta.url)(entry.name)),
  )
  const imported = names(await import(entry.name))
  compare(`import '${entry.name}' must export what ${entry.declarations} declares`, declared, imported)
}

function checkErrorCodes() {
  const declared = new Set(errorCodes().map(({ code }) => code))
  const missing = [...coreCodes().keys()].filter(code => !declared.has(code))
  compare('index.d.ts must declare every error code of src/error.rs; missing', [], missing)
}

/** Options that are not in the engine's own table. */
const BESIDES = [
  'backend.simulated',
  'backend.faults',
  'backend.answers',
  'backend.onUnmatched',
  'backend',
  'cache.prefixCache.path',
  'cache.promptCache.path',
  'configFile',
]

function checkOptions() {
  const declared = fieldsOf('EngineOptions')
  const expected = options().map(declarationOf)
  for (const option of expected) {
    const field = declared.find(({ name }) => name === option.name)
    compare('index.d.ts must declare every option as src/config/options.rs has it', option, field && { ...field })
  }
  const names = new Set(expected.map(({ name }) => name))
  const others = declared.map(({ name }) => name).filter(name => !names.has(name))
  compare('index.d.ts must declare the options of options.rs and of BESIDES only', [...BESIDES].sort(), others.sort())
}

/** Dependencies come from registries, whose packages do not change once published. Lock files pin their digests. */
function checkSources() {
  const crates = readFileSync(at('Cargo.lock'), 'utf8').matchAll(/^source = "(.*)"/gm)
  const foreign = [...crates].map(([, source]) => source).filter(source => source !== CRATES_IO)
  compare('Cargo.lock must name crates.io only; also found', [], foreign)
  for (const path of ['package-lock.json', 'tools/build/smoke/tools/package-lock.json']) {
    const packages = Object.entries(readJson(at(path)).packages).filter(([name]) => name !== '')
    const unknown = packages.filter(([, { integrity }]) => !integrity).map(([name]) => name)
    compare(`${path} must have a digest of every package; without one`, [], unknown)
  }
}

const script = (name, ...args) => quiet(process.execPath, [at('tools', 'build', name), ...args])

await main(async () => {
  await build()
  await phase('Versions', checkVersions)
  await phase('Where dependencies come from', checkSources)
  for (const entry of entries()) await phase(`Exported names of ${entry.name}`, () => checkExports(entry))
  await phase('Error codes', checkErrorCodes)
  await phase('Options', checkOptions)
  await phase('Links and file names in the documentation', checkPaths)
  await phase('Tables in the documentation', () => script('tables.mjs', '--check'))
  await phase('The schema of runtime files', () => script('schema.mjs', '--check'))
  await phase('Third-party notices', () => script('third-party.mjs', '--check'))
  await checkSnippets()
})
