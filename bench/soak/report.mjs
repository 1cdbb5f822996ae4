// Prints the results of a soak: how each way of using the engine ended, what went wrong, and the goals with their verdicts.

import { bold, dim, green, red } from '../../tools/build/terminal.mjs'
import { table } from '../report.mjs'

const COLOURS = { met: green, missed: red, open: dim }

/** `plot`: the path of the plot, if there is one. */
export function printReport(soaks, plot) {
  for (const { record } of soaks) printRecord(record)
  const all = soaks.flatMap(({ verdicts }) => verdicts)
  console.log(`\n${bold('Goals')}`)
  table(
    all.map(({ what, bound, measured, verdict }) => ({
      goal: what,
      bound,
      measured,
      verdict: COLOURS[verdict](verdict),
    })),
  )
  const missed = all.filter(({ verdict }) => verdict === 'missed').length
  if (plot !== undefined) console.log(`\nMemory over time: ${plot}`)
  console.log(missed === 0 ? green('No goal is missed.') : red(`${missed} of ${all.length} goals are missed.`))
}

function printRecord({ plan, samples, endings, violations, numViolations, exit, stderr }) {
  const { requests, seconds } = samples.at(-1) ?? { requests: 0, seconds: 0 }
  console.log(
    `\n${bold(plan.kind)}: ${requests.toLocaleString('en-US')} requests in ${(seconds / 60).toFixed(1)} minutes`,
  )
  const names = [...new Set(Object.values(endings).flatMap(Object.keys))].sort()
  const rows = Object.entries(endings).map(([way, ends]) => ({
    'the caller': way,
    calls: sum(ends),
    ended: names
      .filter(name => ends[name])
      .map(name => `${name} ${ends[name]}`)
      .join(', '),
  }))
  if (rows.length > 0) table(rows.sort((one, other) => other.calls - one.calls))
  for (const violation of violations) console.log(red(`× ${violation}`))
  if (numViolations > violations.length) console.log(red(`× and ${numViolations - violations.length} more`))
  if (exit !== 'ended') console.log(`The process: ${exit}. Its last words:\n${dim(stderr)}`)
}

const sum = parts => Object.values(parts).reduce((total, part) => total + part, 0)
