// `npm run bench`: the standard set of workloads, each on the engine with default options and on a plain engine, which runs one
// request at a time and shares no answers. On a simulated device in real time, and on MLX. Progress goes to stderr, tables to
// stdout; the last line of stdout is one JSON object. `--docs` also writes docs/benchmarks.md and its plots.

import { mkdirSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { build } from '../tools/build/build.mjs'
import { main } from '../tools/build/failure.mjs'
import { at } from '../tools/build/repository.mjs'
import { goalsOf } from './documents/goals.mjs'
import { machine } from './documents/machine.mjs'
import { pageOf } from './documents/page.mjs'
import { plotOf } from './documents/plots.mjs'
import { printTables } from './documents/report.mjs'
import { among, count } from './flags.mjs'

const FLAGS = {
  devices: { type: 'string', default: 'simulated,mlx' },
  pairs: { type: 'string', default: '3' },
  quick: { type: 'boolean', default: false },
  docs: { type: 'boolean', default: false },
}
const DEVICES = ['simulated', 'mlx']
const MOST_PAIRS = 50

await main(async () => {
  const { values } = parseArgs({ args: process.argv.slice(2), options: FLAGS, strict: true })
  const devices = among('--devices', values.quick ? 'mlx' : values.devices, DEVICES)
  const pairs = count('--pairs', values.pairs, MOST_PAIRS)
  await build()
  // Imported here, because this script builds the package first.
  const { measureDevice } = await import('./documents/measure.mjs')
  const results = []
  for (const device of devices) results.push(await measureDevice(device, pairs))
  const goals = results.flatMap(goalsOf)
  printTables(results, goals)
  const about = machine()
  if (values.docs) writePages(results, goals, about)
  const summaries = results.map(({ device, questions, loads }) => ({
    device,
    questions: { engine: questions.engine.length, plain: questions.plain.length },
    loads: loads.map(({ pairs, ...load }) => load),
  }))
  console.log(JSON.stringify({ ...about, goals, results: summaries }))
})

function writePages(results, goals, about) {
  mkdirSync(at('docs', 'benchmarks'), { recursive: true })
  for (const result of results) writeFileSync(at('docs', 'benchmarks', `${result.device}.svg`), plotOf(result))
  writeFileSync(at('docs', 'benchmarks.md'), pageOf(results, goals, about))
}
