// The programs of docs/testing.md do what the page says: each block with a file name is written to a folder, and the runners of
// tests run them there. `npm run check:drift` runs the other blocks.

import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, test } from 'vitest'
import { HERMES } from './scripted.js'
import { ROOT } from './support.js'

// Inside of the checkout, so that the name of the package leads to it.
const FOLDER = path.join(ROOT, 'target', 'testing-docs')
/** The demo model with a chat template that has tools. */
const MODEL = path.join(FOLDER, 'model')
const CONFIG = `
export default {
  resolve: { alias: { 'mlx-serving': ${JSON.stringify(path.join(ROOT, 'dist', 'index.mjs'))} } },
  test: { include: ['*.test.mjs'], server: { deps: { external: [/\\/dist\\//] } } },
}`

beforeAll(async () => {
  const page = await readFile(path.join(ROOT, 'docs', 'testing.md'), 'utf8')
  const programs = [...page.matchAll(/^```javascript\n\/\/ (\S+)\n(.*?)^```/gms)]
  await rm(FOLDER, { recursive: true, force: true })
  await mkdir(MODEL, { recursive: true })
  const demo = path.join(ROOT, 'models', 'demo')
  for (const name of await readdir(demo)) await symlink(path.join(demo, name), path.join(MODEL, name))
  await rm(path.join(MODEL, 'chat_template.jinja'), { force: true })
  await writeFile(path.join(MODEL, 'chat_template.jinja'), HERMES)
  await writeFile(path.join(FOLDER, 'vitest.config.mjs'), CONFIG)
  for (const [, name, code] of programs) await writeFile(path.join(FOLDER, name), code)
  expect(programs.map(([, name]) => name)).toContain('assist.mjs')
})

async function run(...args: string[]): Promise<string> {
  // The variables of vitest would make an inner run part of the outer one.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_TEST|FORCE_COLOR)/.test(name)),
  )
  const options = { cwd: FOLDER, env: { ...env, MODEL, NO_COLOR: '1' }, timeout: 60_000 }
  return promisify(execFile)(process.execPath, args, options).then(
    ({ stdout }) => stdout,
    ({ stdout, stderr }) => `failed:\n${stdout}\n${stderr}`,
  )
}

test('the tests for Vitest pass', async () => {
  const output = await run(path.join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--root', FOLDER)
  expect(output).toMatch(/Tests +2 passed/)
}, 60_000)

test('the tests for node:test pass', async () => {
  const output = await run('--test', '--test-reporter=tap', 'assist.node.mjs')
  expect(output).toMatch(/^# pass 2$/m)
  expect(output).toMatch(/^# fail 0$/m)
})
