// The schema of runtime files, with which editors complete and check them, agrees with the engine. So do the examples in the
// documentation.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import Ajv from 'ajv'
import { createEngine } from 'mlx-serving'
import { beforeEach, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import { runtimeFile, SCHEMA } from './runtimefile.js'
import { INSTANT, ROOT } from './support.js'

beforeEach(() => {
  const ours = Object.keys(process.env).filter(name => name.startsWith('MLX_') || name === 'NODE_ENV')
  for (const name of ours) vi.stubEnv(name, undefined)
  return () => vi.unstubAllEnvs()
})

const isValid = new Ajv({ strict: true, allowUnionTypes: true }).compile(SCHEMA)

async function starts(text: string): Promise<boolean> {
  try {
    const engine = await createEngine({ backend: { simulated: INSTANT }, configFile: await runtimeFile(text) })
    await engine.dispose()
    return true
  } catch {
    return false
  }
}

test.each([
  ['preset: latency', true],
  ['preset: ~', true],
  ['preset: fast', false],
  ['scheduler:', true],
  ['scheduler: { batch_size: 64 }', true],
  ['scheduler: { batch_size: 65 }', false],
  ['scheduler: { batch_size: 4.5 }', false],
  ['scheduler: { window_ms: 1.5 }', true],
  ['scheduler: { window_ms: 0.25 }', false],
  ['scheduler: { fast_path: off }', true],
  ['scheduler: { fast_path: no }', false],
  ['scheduler: { fast_path: 0 }', false],
  ['scheduler: { fastPath: off }', false],
  ['scheduler: [fast_path]', false],
  ['prompt_cache: { path: answers.bin, max_total_bytes: 1000 }', true],
  ["prompt_cache: { path: '' }", false],
  ['continuous_batching: { max_batch_size: 4 }', true],
  ['backend: mlx', false],
  ['environments: { production: { preset: latency }, test: }', true],
  ['environments: { production: { presets: latency } }', false],
  ['environments: { production: { environments: {} } }', false],
])('the schema and the engine agree on %s (valid: %s)', async (text, valid) => {
  expect(isValid(parse(text))).toBe(valid)
  expect(await starts(text)).toBe(valid)
})

test('the examples in the documentation are valid', async () => {
  const page = readFileSync(path.join(ROOT, 'docs', 'configuration.md'), 'utf8')
  const examples = [...page.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, text]) => text)
  expect(examples).toHaveLength(2)
  for (const text of examples) {
    isValid(parse(text))
    expect(isValid.errors).toBe(null)
    expect(await starts(text)).toBe(true)
  }
})
