// `npm run bench:serving`: compares the scheduler with other policies on simulated traffic, and runs a sample in real time.
// bench/README.md explains the tables. Progress goes to stderr; the last line of stdout is JSON.

import { mkdirSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { build } from '../tools/build/build.mjs'
import { lines } from '../tools/build/command.mjs'
import { main } from '../tools/build/failure.mjs'
import { at } from '../tools/build/repository.mjs'
import { progress } from './progress.mjs'
import { goalsOf } from './serving/goals.mjs'
import { plotsOf } from './serving/plots.mjs'
import { printReport } from './serving/report.mjs'
import { buildBench } from './sides.mjs'

const FLAGS = {
  quick: { type: 'boolean', default: false },
  plots: { type: 'boolean', default: false },
}

await main(async () => {
  const { values } = parseArgs({ args: process.argv.slice(2), options: FLAGS, strict: true })
  progress('building')
  await build()
  const runs = await simulate(values.quick)
  const cells = runs.filter(({ run }) => run === 0)
  progress('a sample in real time')
  // Imported here, because this script builds the package first.
  const { sampleRealTime } = await import('./serving/real_time.mjs')
  const { sampleOverload } = await import('./serving/overload.mjs')
  const sample = await sampleRealTime(cells)
  progress('ten times the load that fits, in real time')
  const overload = await sampleOverload()
  const goals = goalsOf(runs, sample, overload)
  printReport(runs, sample, overload, goals)
  if (values.plots) writePlots(cells)
  console.log(JSON.stringify({ date: new Date().toISOString(), node: process.version, goals, sample, overload, runs }))
})

/** Every simulated cell, in order, repeated runs among them. */
async function simulate(isQuick) {
  const cells = []
  const take = line => {
    const { index, numCells, ...cell } = JSON.parse(line)
    cells[index] = cell
    const numDone = Object.keys(cells).length
    progress(`${numDone} of ${numCells} simulated: ${cell.profile}, ${cell.workload} ${cell.load}, ${cell.policy}`)
  }
  await lines(await buildBench('serving', ['--no-default-features']), isQuick ? ['--quick'] : [], take)
  return cells
}

function writePlots(cells) {
  const folder = at('docs', 'serving')
  mkdirSync(folder, { recursive: true })
  for (const [name, svg] of plotsOf(cells)) writeFileSync(`${folder}/${name}.svg`, svg)
  progress('docs/serving: plots written')
}
