// Counts of the test runners: each runner's counts are stored under target/ and added up in one closing line.
// `node tools/build/results.mjs` prints that line for all runners since the last `--reset`, and fails if a test failed.

import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Failure, main } from './failure.mjs'
import { at, readJson } from './repository.mjs'

const folder = at('target', 'results')

/** Stores the counts of one runner. A second run replaces them. */
export function record(runner, { passed, failed }) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${runner}.json`), JSON.stringify({ runner, passed, failed }))
}

/** Removes all counts. */
export const reset = () => rmSync(folder, { recursive: true, force: true })

/** Prints each runner's counts and their sum. */
export function summarize() {
  const runners = existsSync(folder) ? readdirSync(folder).map(name => readJson(join(folder, name))) : []
  for (const { runner, passed, failed } of runners) console.log(`${runner}: ${passed} passed, ${failed} failed`)
  const sum = count => runners.reduce((total, runner) => total + runner[count], 0)
  console.log(`${sum('passed')} passed, ${sum('failed')} failed`)
  if (sum('passed') === 0 || sum('failed') > 0) throw new Failure('Not all tests passed.')
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(() => (process.argv.includes('--reset') ? reset() : summarize()))
}
