// The TypeScript skin: tsc compiles lib/ to dist/, if its sources changed.

import { quiet } from './command.mjs'
import { keepFresh } from './freshness.mjs'
import { at, commandOf } from './repository.mjs'
import { phase } from './terminal.mjs'

const INPUTS = ['lib', 'index.d.ts', 'index.d.mts', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json']

/** Compiles the skin, if its sources changed. */
export async function buildSkin() {
  const outputs = [at('dist', 'index.js'), at('dist', 'index.mjs')]
  await keepFresh({ name: 'skin', inputs: INPUTS, outputs }, () =>
    phase('Compiling the TypeScript skin (tsc)', () =>
      quiet(process.execPath, [commandOf('typescript', 'tsc'), '--project', 'tsconfig.json']),
    ),
  )
}
