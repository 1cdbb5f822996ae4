// Bundled programs. A bundle that contains the package runs where the package is not installed. The errors of a missing
// addon and of a missing model both say to leave the package outside. A bundle that does so works.

import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { rolldown } from 'rolldown'
import { expect, onTestFinished, test } from 'vitest'
import { ROOT } from './support.js'

const PROGRAM = `
import { createEngine } from 'mlx-serving'
const run = async () => {
  const engine = await createEngine()
  try {
    console.log((await engine.loadModel()).id)
  } finally {
    await engine.dispose()
  }
}
run().catch(error => console.log(error.code, error.message))
`
const ADVICE =
  /was bundled.*esbuild `--external:mlx-serving`; webpack `externals.*serverExternalPackages: \['mlx-serving'\]/
const PLATFORM = `mlx-serving-${process.platform}-${process.arch}${process.platform === 'linux' ? '-gnu' : ''}`
const ADDON = path.join(ROOT, 'npm', PLATFORM.slice('mlx-serving-'.length))

/** A folder with the program and its bundle; `outside` are packages that it leaves outside. */
async function bundle(outside: string[], format: 'cjs' | 'esm'): Promise<string> {
  const folder = await realpath(await mkdtemp(path.join(tmpdir(), 'mlx-serving-')))
  onTestFinished(() => rm(folder, { recursive: true }))
  const input = path.join(folder, 'program.mjs')
  await writeFile(input, PROGRAM)
  const alias = { 'mlx-serving': path.join(ROOT, 'dist', 'index.mjs') }
  const isInside = !outside.includes('mlx-serving')
  const build = await rolldown({ input, platform: 'node', external: outside, resolve: isInside ? { alias } : {} })
  const name = format === 'cjs' ? 'bundle.cjs' : 'bundle.mjs'
  await build.write({ file: path.join(folder, 'dist', name), format })
  await build.close()
  return path.join(folder, 'dist', name)
}

/** Installs a package beside a bundle, as links to what was built here. */
async function install(bundled: string, name: string, files: Record<string, string>): Promise<void> {
  const folder = path.join(path.dirname(bundled), 'node_modules', name)
  await mkdir(folder, { recursive: true })
  for (const [file, target] of Object.entries(files)) await symlink(target, path.join(folder, file))
}

const addonFiles = {
  'package.json': path.join(ADDON, 'package.json'),
  'mlx-serving.node': path.join(ADDON, 'mlx-serving.node'),
}

function run(file: string): Promise<string> {
  const child = spawn(process.execPath, [file], { cwd: path.dirname(file), timeout: 20_000 })
  let output = ''
  child.stdout.on('data', data => (output += data))
  child.stderr.on('data', data => (output += data))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', () => resolve(output))
  })
}

test.each(['cjs', 'esm'] as const)('a bundle without the addon fails with advice: %s', async format => {
  const output = await run(await bundle([], format))
  expect(output).toMatch(/^UnsupportedPlatform the package mlx-serving-\S+ was not found: /)
  expect(output).toMatch(ADVICE)
})

test('a bundle with the addon and without the model fails with the same advice', async () => {
  const file = await bundle([], 'cjs')
  await install(file, PLATFORM, addonFiles)
  const output = await run(file)
  expect(output).toMatch(/^ModelNotFound the model of the package is not in /)
  expect(output).toMatch(ADVICE)
})

test.each(['cjs', 'esm'] as const)('a bundle that leaves the package outside works: %s', async format => {
  const file = await bundle(['mlx-serving'], format)
  const root = Object.fromEntries(['package.json', 'dist', 'models', 'npm'].map(name => [name, path.join(ROOT, name)]))
  await install(file, 'mlx-serving', root)
  expect(await run(file)).toBe('demo\n')
})
