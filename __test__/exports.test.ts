// The exports of the package: the same in ES modules, CommonJS and the declared types. The addon is loaded on first use.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import * as esm from 'mlx-serving'
import { expect, test } from 'vitest'
import { inNode, ROOT } from './support.js'

const require = createRequire(__filename)

test('both module systems export the same names', () => {
  const cjs = require('mlx-serving')
  expect(Object.keys(cjs).sort()).toEqual(Object.keys(esm).sort())
  for (const [name, value] of Object.entries(esm)) expect(cjs[name]).toBe(value)
})

test('every declared value is exported, and no other', () => {
  const types = readFileSync(path.join(ROOT, 'index.d.ts'), 'utf8')
  const declared = [...types.matchAll(/^export declare (?:function|class) (\w+)/gm)].map(match => match[1])
  expect(declared.sort()).toEqual(Object.keys(esm).sort())
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

test('importing does not load the addon', async () => {
  const script = `
    import 'mlx-serving'
    const { sharedObjects } = process.report.getReport()
    console.log(sharedObjects.filter(file => /mlx/.test(file)).length)`
  expect((await inNode(script)).stdout).toBe('0\n')
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
  // The second measurement, with an engine, shows that the first one would have detected them.
  expect((await inNode(script, 'commonjs')).stdout).toBe('true\nfalse\n')
})
