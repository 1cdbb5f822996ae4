// The tables of the standard set: printed, and as Markdown for the page.

import { bold } from '../../tools/build/terminal.mjs'
import { printGoals, range, table } from '../report.mjs'
import { quantile } from '../statistics.mjs'

const NAMES = { simulated: 'simulated M3 Max, Llama 3.2 3B at 4 bits', mlx: 'MLX on this machine, bundled model' }
const SIDES = { engine: 'engine', plain: 'plain engine' }

export const titleOf = device => NAMES[device]

/** A row for each side: the times of the questions. */
export function questionRows({ questions }) {
  return Object.entries(SIDES).map(([side, name]) => {
    const of = (field, share) =>
      quantile(
        questions[side].map(one => one[field]),
        share,
      ).toFixed(2)
    return {
      side: name,
      questions: questions[side].length,
      'first token ms p50': of('ttftMs', 0.5),
      p95: of('ttftMs', 0.95),
      'answer ms p50': of('totalMs', 0.5),
      'p95 ': of('totalMs', 0.95),
      'p99 ': of('totalMs', 0.99),
    }
  })
}

/** A row for each load. */
export function loadRows({ loads }) {
  return loads.map(({ name, numRequests, numRefused, pairs, rate, ratio, ttftP95, tokenP95 }) => ({
    load: name,
    pairs: pairs.length,
    requests: numRequests,
    refused: numRefused,
    'answers/s': range(rate.engine),
    plain: range(rate.plain),
    'times as many': range(ratio),
    'first token ms p95': `${ttftP95.engine[1].toFixed(0)}, ${ttftP95.plain[1].toFixed(0)}`,
    'token ms p95': `${tokenP95.engine[1].toFixed(1)}, ${tokenP95.plain[1].toFixed(1)}`,
  }))
}

export const goalRows = goals =>
  goals.map(({ what, bound, quartiles, verdict }) => ({ goal: what, bound, measured: range(quartiles), verdict }))

export function printTables(results, goals) {
  for (const result of results) {
    console.log(`\n${bold(`${titleOf(result.device)}: 50 questions, one after another`)}`)
    table(questionRows(result))
    console.log(`\n${bold(`${titleOf(result.device)}: loads`)}`)
    table(loadRows(result))
  }
  printGoals(goals)
}

/** A Markdown table. */
export function markdown(rows) {
  const names = Object.keys(rows[0])
  const line = cells => `| ${cells.join(' | ')} |`
  const head = [line(names.map(name => name.trim())), `|${names.map(() => '---').join('|')}|`]
  return [...head, ...rows.map(row => line(names.map(name => row[name])))].join('\n')
}
