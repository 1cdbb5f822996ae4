// Decides whether a build result is up to date, by a digest of the contents of all its inputs at the last build. Contents
// instead of times: switching branches back and forth rebuilds nothing. Reading a few megabytes takes milliseconds.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { at, root } from './repository.mjs'

/** Names of folders that hold results and no sources. */
const RESULTS = new Set(['target', 'node_modules', '.git'])

/** Builds with `make` unless all `outputs` exist and `inputs` are unchanged since. Returns whether it built. */
export async function keepFresh({ name, inputs, outputs, facts = [] }, make) {
  const stamp = at('target', 'stamps', name)
  const digest = digestOf(inputs, facts)
  if (outputs.every(path => existsSync(path)) && read(stamp) === digest) return false
  await make()
  mkdirSync(dirname(stamp), { recursive: true })
  writeFileSync(stamp, digest)
  return true
}

function read(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}

/** A digest of the files, of all files in the folders, and of the facts. */
export function digestOf(inputs, facts = []) {
  const hash = createHash('sha256').update(JSON.stringify(facts))
  for (const path of inputs.flatMap(input => filesIn(at(input)))) {
    hash.update(`\0${relative(root, path)}\0`).update(readFileSync(path))
  }
  return hash.digest('hex')
}

/** The file, or all files of the folder, in a stable order. A missing path has no files. */
function filesIn(path) {
  if (!existsSync(path)) return []
  if (!statSync(path).isDirectory()) return [path]
  const names = readdirSync(path).filter(name => !RESULTS.has(name))
  return names.sort().flatMap(name => filesIn(join(path, name)))
}
