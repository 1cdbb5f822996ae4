// Tables that are written by hand: the status of each error in docs/http.md and docs/server.md is that of the code, and
// the figures of docs/memory.md follow from its formulas, which are those of the engine.

import { readFileSync } from 'node:fs'
import { createEngine } from 'mlx-serving'
import { expect, test } from 'vitest'
import { errorCodes } from '../build/declared.mjs'
import { at, readJson } from '../build/repository.mjs'

const read = (...path) => readFileSync(at(...path), 'utf8')
const rowsOf = (page, first) =>
  [...page.matchAll(/^\| (.+) \|$/gm)].map(([, row]) => row.split(' | ')).filter(([cell]) => first.test(cell))

test('every error code has a status, which is the same in the examples and on the page', async () => {
  process.env.SIMULATED = 'instant'
  const { STATUS } = await import('../../examples/serving.mjs')
  expect(Object.keys(STATUS).toSorted()).toEqual(
    errorCodes()
      .map(({ code }) => code)
      .toSorted(),
  )
  const listed = rowsOf(read('docs', 'http.md'), /^\d{3}$/).flatMap(([status, codes]) =>
    codes.match(/\w+/g).map(code => [code, Number(status)]),
  )
  expect(Object.fromEntries(listed)).toEqual(STATUS)
})

test('the server has the statuses of the examples, and its page lists them with their codes', async () => {
  const { PROBLEMS } = await import('../../dist/server/problem.js')
  const { STATUS } = await import('../../examples/serving.mjs')
  expect(Object.fromEntries(Object.entries(PROBLEMS).map(([code, [status]]) => [code, status]))).toEqual(STATUS)
  const listed = rowsOf(read('docs', 'server.md'), /^\d{3}$/).flatMap(([status, name, codes]) =>
    codes.match(/\w+/g).map(code => [code, [Number(status), name.replaceAll('`', '')]]),
  )
  expect(Object.fromEntries(listed)).toEqual(PROBLEMS)
})

const kvBytesOf = (layers, heads, size, numberBytes) => 2 * layers * heads * size * numberBytes

test('the memory of known models follows from their sizes', () => {
  const rows = rowsOf(read('docs', 'memory.md'), /^(?!model).* \d+B/)
  expect(rows.length).toBeGreaterThan(5)
  for (const [model, billions, layers, heads, size, ...figures] of rows) {
    const token = kvBytesOf(Number(layers), Number(heads), Number(size), 2)
    const weights = (Number(billions) * 4.5) / 8
    const expected = [weights.toFixed(1), (token / 1e3).toFixed(0), ((token * 8 * 4096) / 1e9).toFixed(1)]
    expect([model, ...figures]).toEqual([model, ...expected])
  }
})

test('the formula for KV is that of the engine', async () => {
  const engine = await createEngine({ memory: { kvBytes: 1 } })
  try {
    const model = await engine.loadModel()
    const refused = await engine.generate({ model, prompt: { tokens: [60] }, maxTokens: 200 }).catch(error => error)
    const config = readJson(at('models', 'demo', 'config.json'))
    const { num_hidden_layers, num_key_value_heads, head_dim } = config
    expect(refused.requested).toBe(256 * kvBytesOf(num_hidden_layers, num_key_value_heads, head_dim, 4))
  } finally {
    await engine.dispose()
  }
})
