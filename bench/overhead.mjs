// `npm run bench:overhead`: compares the engine with its bare executor, and with mlx-lm in process and behind its server.
// bench/README.md explains the tables. Progress goes to stderr; the last line of stdout is JSON.

import { arch, cpus, platform } from 'node:os'
import { build } from '../tools/build/build.mjs'
import { quiet } from '../tools/build/command.mjs'
import { main } from '../tools/build/failure.mjs'
import { python } from '../tools/build/python.mjs'
import { at } from '../tools/build/repository.mjs'
import { goalsOf, zeroCostGoals } from './goals.mjs'
import { measure } from './measure.mjs'
import { modelFolder } from './models.mjs'
import { readOptions } from './options.mjs'
import { progress } from './progress.mjs'
import { compare, printCells, printGoals, summarize } from './report.mjs'
import { buildBench, closeSides, openSides } from './sides.mjs'

await main(async () => {
  const options = readOptions(process.argv.slice(2))
  await build()
  progress('preparing: the bare loop, and Python with mlx-lm')
  const programs = { bareLoop: await buildBench('bare_loop'), python: await python() }
  const cells = []
  for (const model of options.models) cells.push(...(await measureModel(model, programs, options)))
  progress('an executor that costs nothing')
  const zeroCost = JSON.parse(await quiet(process.execPath, [at('bench', 'zero_cost.mjs')]))
  const goals = [...goalsOf(cells), ...zeroCostGoals(zeroCost)]
  printCells(cells)
  printGoals(goals)
  console.log(JSON.stringify(result(cells, goals, zeroCost)))
})

async function measureModel(model, programs, { sides: letters, rows, pairs }) {
  // Imported here, because this script builds the package first.
  const { promptsFor } = await import('./prompts.mjs')
  const folder = await modelFolder(model, programs.python)
  const take = await promptsFor(model)
  progress(`${model}: loading`)
  const sides = await openSides(letters, programs, folder)
  const onRound = round => progress(`${model}: round ${round}${round === 0 ? ', to warm up' : ''}`)
  try {
    const rounds = await measure(sides, { rows, minRounds: pairs, take, onRound })
    return [...rounds].map(([count, pairs]) => {
      return { model, rows: count, pairs, summary: summarize(pairs), comparison: compare(pairs) }
    })
  } finally {
    await closeSides(sides)
  }
}

function result(cells, goals, zeroCost) {
  return {
    date: new Date().toISOString(),
    machine: `${cpus().length}-core ${platform()} ${arch()}`,
    node: process.version,
    cells: cells.map(({ pairs, ...cell }) => ({ ...cell, numPairs: pairs.length })),
    goals,
    zeroCost,
  }
}
