// The TypeScript skin: tsc compiles lib/ to dist/ if its sources changed. The entry for ES modules is already JavaScript and
// is copied.

import { copyFileSync, rmSync } from 'node:fs'
import { quiet } from './command.mjs'
import { keepFresh } from './freshness.mjs'
import { at, commandOf } from './repository.mjs'
import { phase } from './terminal.mjs'

const INPUTS = [
  'lib',
  'index.d.ts',
  'tsconfig.json',
  'tsconfig.build.json',
  'package-lock.json',
  'tools/build/skin.mjs',
]

/** Compiles the skin, if its sources changed. */
export async function buildSkin() {
  const outputs = [at('dist', 'index.js'), at('dist', 'index.mjs')]
  await keepFresh({ name: 'skin', inputs: INPUTS, outputs }, () =>
    phase('Compiling the TypeScript skin (tsc)', compile),
  )
}

async function compile() {
  rmSync(at('dist'), { recursive: true, force: true })
  await quiet(process.execPath, [commandOf('typescript', 'tsc'), '--project', 'tsconfig.build.json'])
  copyFileSync(at('lib', 'index.mjs'), at('dist', 'index.mjs'))
}
