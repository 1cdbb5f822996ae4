// `npm run soak`: runs the requests of 72 hours without pauses on a simulated device, and requests for some minutes on MLX.
// They use the engine in every way that it allows. bench/README.md explains the table. Progress goes to stderr; the last line
// of stdout is JSON. The exit code is 1 if a goal is missed.

import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { build } from '../tools/build/build.mjs'
import { main } from '../tools/build/failure.mjs'
import { at } from '../tools/build/repository.mjs'
import { readPlans } from './soak/plans.mjs'
import { memoryPlot } from './soak/plot.mjs'
import { printReport } from './soak/report.mjs'
import { runSoak } from './soak/run.mjs'
import { verdictsOf } from './soak/verdicts.mjs'

await main(async () => {
  const { plans, plot } = readPlans(process.argv.slice(2))
  await build()
  const soaks = []
  for (const plan of plans) {
    const record = await runSoak(plan)
    soaks.push({ record, verdicts: verdictsOf(record) })
  }
  const svg = memoryPlot(soaks.map(({ record }) => record))
  if (svg !== undefined) {
    mkdirSync(dirname(at(plot)), { recursive: true })
    writeFileSync(at(plot), svg)
  }
  printReport(soaks, svg && plot)
  const result = soaks.map(({ record: { samples, ...record }, verdicts }) => ({
    ...record,
    verdicts,
    last: samples.at(-1),
  }))
  console.log(JSON.stringify({ date: new Date().toISOString(), node: process.version, soaks: result }))
  if (soaks.some(({ verdicts }) => verdicts.some(({ verdict }) => verdict === 'missed'))) process.exitCode = 1
})
