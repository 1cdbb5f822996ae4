// Whether something built is up to date: a digest of the contents of everything it is made from, kept from the last
// build. Contents, not times: a checkout back and forth costs nothing. Reading a few megabytes takes milliseconds.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { at, root } from './repository.mjs'

/** Folders that hold results, not sources, wherever they are. */
const RESULTS = new Set(['target', 'node_modules', '.git'])

/** Builds with `make` unless `inputs` are as they were when all `outputs` were last made. Says whether it built. */
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

/** Differs when any of the files does, or of those in the folders, or a fact. */
export function digestOf(inputs, facts = []) {
  const hash = createHash('sha256').update(JSON.stringify(facts))
  for (const path of inputs.flatMap(input => filesIn(at(input)))) {
    hash.update(`\0${relative(root, path)}\0`).update(readFileSync(path))
  }
  return hash.digest('hex')
}

/** The file, or all files of the folder, in a stable order. What is not there has no files. */
function filesIn(path) {
  if (!existsSync(path)) return []
  if (!statSync(path).isDirectory()) return [path]
  const names = readdirSync(path).filter(name => !RESULTS.has(name))
  return names.sort().flatMap(name => filesIn(join(path, name)))
}
