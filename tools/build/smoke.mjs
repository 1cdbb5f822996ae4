// `npm run smoke`: installs the packed tarballs into an empty folder outside the repository, as a user does, and uses
// them there from ESM, from CommonJS and from TypeScript. What is only there in a checkout is found missing here.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { quiet } from './command.mjs'
import { Failure, main } from './failure.mjs'
import { pack } from './pack.mjs'
import { at, commandOf } from './repository.mjs'
import { record } from './results.mjs'
import { phase } from './terminal.mjs'

const ASK = `
async function ask() {
  const engine = await createEngine()
  const model = await engine.loadModel()
  const { text } = await engine.generate({ model, messages: [{ role: 'user', content: 'What is 20 + 3?' }], temperature: 0 })
  await engine.shutdown()
  if (!/\\b23\\b/.test(text)) throw new Error('20 + 3 was answered with: ' + text)
  const strays = process.report.getReport().sharedObjects.filter(path => /mlx/.test(path) && !path.startsWith(__FOLDER__))
  if (strays.length > 0) throw new Error('loaded from outside the installed packages: ' + strays)
}
ask()
`

const TYPED = `import { createEngine, MlxServingError, type GenerateResult } from 'mlx-serving'
export async function ask(question: string): Promise<string> {
  const engine = await createEngine()
  try {
    const model = await engine.loadModel()
    const result: GenerateResult = await engine.generate({ model, messages: [{ role: 'user', content: question }] })
    return result.text
  } catch (error) {
    return error instanceof MlxServingError ? error.code : 'unknown'
  } finally {
    await engine.shutdown()
  }
}
`

const TSCONFIG = {
  compilerOptions: {
    module: 'nodenext',
    target: 'es2023',
    lib: ['es2023', 'esnext.disposable'],
    strict: true,
    noEmit: true,
    types: ['node'],
    typeRoots: [at('node_modules', '@types')],
  },
  files: ['typed.mts', 'typed.cts'],
}

/** Each check: what it shows, and the arguments for Node in the folder. */
const CHECKS = [
  ['ES module', ['ask.mjs']],
  ['CommonJS', ['ask.cjs']],
  ['TypeScript', () => [commandOf('typescript', 'tsc'), '--project', 'tsconfig.json']],
]

function writePrograms(folder) {
  const ask = ASK.replace('__FOLDER__', JSON.stringify(folder))
  const files = {
    'package.json': '{ "private": true }',
    'ask.mjs': `import { createEngine } from 'mlx-serving'\n${ask}`,
    'ask.cjs': `const { createEngine } = require('mlx-serving')\n${ask}`,
    'typed.mts': TYPED,
    'typed.cts': TYPED,
    'tsconfig.json': JSON.stringify(TSCONFIG),
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
}

/** All of them, so that one run shows all that is missing. */
async function check(folder) {
  const failures = []
  for (const [title, args] of CHECKS) {
    const found = typeof args === 'function' ? args() : args
    const use = () => quiet(process.execPath, found, { cwd: folder })
    await phase(`Using the installed package: ${title}`, use).catch(error => failures.push(error))
  }
  record('install-smoke', { passed: CHECKS.length - failures.length, failed: failures.length })
  if (failures.length > 0) throw new Failure(failures.map(({ message }) => message).join('\n\n'))
}

await main(async () => {
  const tarballs = await pack()
  const folder = mkdtempSync(join(tmpdir(), 'mlx-serving-smoke-'))
  try {
    writePrograms(folder)
    const install = ['install', '--no-audit', '--no-fund', '--offline', ...tarballs]
    await phase('Installing the tarballs into an empty folder', () => quiet('npm', install, { cwd: folder }))
    await check(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
