// Folders of their own with a model, for tests of several models. Removed at the end of the test.

import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { ROOT } from './support.js'

/** Copies of the demo model in folders of these names. */
export function copiesOfDemo<N extends string>(...names: N[]): Promise<Record<N, string>> {
  return copiesOf(path.join(ROOT, 'models', 'demo'), names)
}

/** Copies of a model that is many times smaller than the demo model. */
export function smallModels<N extends string>(...names: N[]): Promise<Record<N, string>> {
  return copiesOf(path.join(ROOT, 'tools', 'conformance', 'fixtures', 'walk-byte-level'), names)
}

async function copiesOf<N extends string>(source: string, names: N[]): Promise<Record<N, string>> {
  const root = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(root, { recursive: true }))
  const folders = names.map(name => [name, path.join(root, name)])
  for (const [, folder] of folders) await cp(source, folder, { recursive: true })
  return Object.fromEntries(folders)
}
