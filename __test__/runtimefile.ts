// Runtime files of tests: written into a folder of their own, which is removed at the end of the test.

import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createEngine, type EngineConfig, type EngineOptions } from 'mlx-serving'
import { onTestFinished } from 'vitest'
import { INSTANT, ROOT } from './support.js'

/** The schema that ships with the package. */
export const SCHEMA: object = JSON.parse(readFileSync(path.join(ROOT, 'runtime.schema.json'), 'utf8'))

/** An empty folder. */
export async function folder(): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(made, { recursive: true }))
  return made
}

/** A runtime file with this text. */
export async function runtimeFile(text: string | Uint8Array): Promise<string> {
  const file = path.join(await folder(), 'runtime.yaml')
  await writeFile(file, text)
  return file
}

/** The effective settings of an engine on a simulated device. */
export async function configOf(options: EngineOptions = {}): Promise<EngineConfig> {
  const engine = await createEngine({ backend: { simulated: INSTANT }, ...options })
  const config = engine.config()
  await engine.dispose()
  return config
}
