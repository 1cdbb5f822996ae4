// The exports of the entry points in `ENTRIES`: the same in ES modules, CommonJS and the declared types. Importing does not
// load the addon or start anything.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { inNode, ROOT } from './support.js'

const require = createRequire(__filename)

/** The entry points whose exports are the same in both module systems, and the files with their types. */
const ENTRIES = [
  ['mlx-serving', 'index.d.ts'],
  ['mlx-serving/ai-sdk', 'ai-sdk.d.ts'],
  ['mlx-serving/server', 'server.d.ts'],
]

describe.each(ENTRIES)('%s', (name, declarations) => {
  test('both module systems export the same names', async () => {
    const [cjs, esm] = [require(name), await import(name)]
    expect(Object.keys(cjs).sort()).toEqual(Object.keys(esm).sort())
    for (const [key, value] of Object.entries(esm)) expect(cjs[key]).toBe(value)
  })

  test('every declared value is exported, and no other', async () => {
    const types = readFileSync(path.join(ROOT, declarations), 'utf8')
    const declared = [...types.matchAll(/^export declare (?:function|class|const) (\w+)/gm)].map(match => match[1])
    expect(declared.sort()).toEqual(Object.keys(await import(name)).sort())
  })

  test('importing does not load the addon', async () => {
    const script = `
      import '${name}'
      const { sharedObjects } = process.report.getReport()
      console.log(sharedObjects.filter(file => /mlx/.test(file)).length)`
    expect((await inNode(script)).stdout).toBe('0\n')
  })
})

test.each(['module', 'commonjs'] as const)('a script of type %s can generate', async type => {
  const load =
    type === 'module' ? "import { createEngine } from 'mlx-serving'" : "const { createEngine } = require('mlx-serving')"
  const script = `${load}
    const main = async () => {
      const engine = await createEngine()
      const model = await engine.loadModel()
      const { tokens } = await engine.generate({ model, prompt: 'Hello', maxTokens: 3 })
      console.log(tokens.length > 0)
    }
    main()`
  expect(await inNode(script, type)).toEqual({ code: 0, signal: null, stdout: 'true\n', stderr: '' })
})

test('importing starts no thread, process, handle or listener', async () => {
  const script = `
    const { existsSync, readdirSync } = require('node:fs')
    const look = () =>
      JSON.stringify([
        existsSync('/proc/self/task') && readdirSync('/proc/self/task').length,
        process.getActiveResourcesInfo(),
        process.eventNames().map(name => [String(name), process.listenerCount(name)]),
      ])
    const before = look()
    const { createEngine } = require('mlx-serving')
    console.log(look() === before)
    createEngine({ backend: { simulated: 'instant' } }).then(() => console.log(look() === before))`
  // The second comparison is made with a running engine. It shows that the first one can fail.
  expect((await inNode(script, 'commonjs')).stdout).toBe('true\nfalse\n')
})
