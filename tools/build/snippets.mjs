// Checks the code in README.md and docs/: every `ts` and `js` block is a whole program that is type-checked against the
// package's public types, and every `js` block is run. Programs are written to target/snippets, where the package's name
// resolves to this checkout. A block whose first line is a comment with a file name has that name, so that other blocks can
// import it.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quiet } from './command.mjs'
import { at, commandOf, pages } from './repository.mjs'
import { phase } from './terminal.mjs'

const folder = at('target', 'snippets')
const EXTENSIONS = { ts: 'mts', js: 'mjs' }

const TSCONFIG = {
  extends: '../../tsconfig.json',
  compilerOptions: {
    module: 'nodenext',
    moduleResolution: 'nodenext',
    allowJs: true,
    checkJs: true,
    noUnusedLocals: false,
    // The types of some frameworks that pages show need other settings than ours.
    skipLibCheck: true,
    lib: ['es2023', 'esnext.disposable', 'dom'],
  },
  include: ['*.mts', '*.mjs'],
}

/** Type-checks all programs, then runs those in JavaScript. */
export async function checkSnippets() {
  const programs = writePrograms()
  await phase(`Code in the documentation: types of ${programs.length} programs (tsc)`, () =>
    quiet(process.execPath, [commandOf('typescript', 'tsc'), '--project', join(folder, 'tsconfig.json')]),
  )
  for (const { place, path } of programs.filter(({ language }) => language === 'js')) {
    await phase(`Code in the documentation: running ${place}`, () =>
      quiet(process.execPath, [path], { timeout: 60_000 }),
    )
  }
}

function writePrograms() {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG))
  const programs = pages().flatMap(blocksOf)
  for (const { path, code } of programs) writeFileSync(path, code)
  return programs
}

function blocksOf(page) {
  const text = readFileSync(at(page), 'utf8')
  return [...text.matchAll(/^```(ts|js)\n(.*?)^```/gms)].map(({ 1: language, 2: code, index }) => {
    const line = text.slice(0, index).split('\n').length
    const name =
      code.match(/^\/\/ ([\w-]+\.m[jt]s)\n/)?.[1] ?? `${page.replace(/\W/g, '-')}-${line}.${EXTENSIONS[language]}`
    return { place: `${page}:${line}`, language, code, path: join(folder, name) }
  })
}
