// The TypeScript skin: tsc compiles lib/ to dist/ if its sources changed. The entries for ES modules are already JavaScript and
// are copied.

import { copyFileSync, rmSync } from 'node:fs'
import { quiet } from './command.mjs'
import { keepFresh } from './freshness.mjs'
import { at, commandOf } from './repository.mjs'
import { phase } from './terminal.mjs'

const INPUTS = [
  'lib',
  'index.d.ts',
  'ai-sdk.d.ts',
  'langchain.d.ts',
  'otel.d.ts',
  'server.d.ts',
  'tsconfig.json',
  'tsconfig.build.json',
  'package-lock.json',
  'tools/build/skin.mjs',
]

/** The entries for ES modules, one for each export of the package. */
const MODULES = [
  ['index.mjs'],
  ['ai-sdk', 'index.mjs'],
  ['langchain', 'index.mjs'],
  ['otel', 'index.mjs'],
  ['server', 'index.mjs'],
]

/** Compiles the skin, if its sources changed. */
export async function buildSkin() {
  const outputs = [at('dist', 'index.js'), at('dist', 'cli', 'main.js'), ...MODULES.map(path => at('dist', ...path))]
  await keepFresh({ name: 'skin', inputs: INPUTS, outputs }, () =>
    phase('Compiling the TypeScript skin (tsc)', compile),
  )
}

async function compile() {
  rmSync(at('dist'), { recursive: true, force: true })
  await quiet(process.execPath, [commandOf('typescript', 'tsc'), '--project', 'tsconfig.build.json'])
  for (const path of MODULES) copyFileSync(at('lib', ...path), at('dist', ...path))
}
