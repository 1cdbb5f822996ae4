// The goals of the benchmarks and their verdicts. A goal is met when the median of the pairs meets it, missed when the median
// and both quartiles miss it, and open otherwise.

import { addedFirstMs, paired, quartiles, rateRatio } from './statistics.mjs'

/** Least ratios of output tokens per second, by sides and rows. */
const RATES = [
  { sides: ['b', 'a'], least: { 1: 0.97, 4: 0.95, 16: 0.92 } },
  { sides: ['b', 'd'], least: { 1: 1.15, 4: 1.6, 16: 2.0 } },
  { sides: ['b', 'c'], least: { 8: 1.1, 16: 1.1 } },
  { sides: ['b', 'c'], least: { 1: 1.3 }, models: ['demo'] },
]
const MOST_ADDED_FIRST_MS = 0.3

/** The goals that the measured cells decide. */
export function goalsOf(cells) {
  const decided = cells.flatMap(cell => [...rateGoals(cell), ...firstTokenGoals(cell)])
  return [...decided, ...growthGoals(cells)]
}

/** The goals of zero_cost.mjs. */
export const zeroCostGoals = ({ cpuMicrosPerRequest, cpuMicrosPerStreamedToken, eventLoopDelayP99Ms }) => [
  atMost('no-cost executor: CPU of a request, µs', 50, cpuMicrosPerRequest),
  atMost('no-cost executor: CPU of a token at 64 streams, µs', 2, cpuMicrosPerStreamedToken),
  atMost('no-cost executor: event-loop delay p99 at 64 streams, ms', 5, eventLoopDelayP99Ms),
]

/** The goals of startup.mjs, given quartiles. */
export const startupGoals = ({ ratio, addonMs }) => [
  goal('require to first token / import to first token of mlx-lm', '≤ 0.5', ratio, value => value <= 0.5),
  goal('loading the addon besides MLX, ms', '≤ 20', addonMs, value => value <= 20),
]

/** A goal of one number. */
export const atMost = (what, most, value) => goal(what, `≤ ${most}`, [value, value, value], number => number <= most)

function rateGoals({ model, rows, pairs }) {
  const due = RATES.filter(({ sides, least, models }) => {
    return least[rows] && has(pairs, sides) && (models === undefined || models.includes(model))
  })
  return due.map(({ sides, least }) => {
    const what = `${model}, ${rows} at once: tok/s of (${sides[0]}) / (${sides[1]})`
    return goal(what, `≥ ${least[rows]}`, paired(pairs, sides, rateRatio), ratio => ratio >= least[rows])
  })
}

function firstTokenGoals({ model, rows, pairs }) {
  if (rows !== 1 || !has(pairs, ['b', 'a'])) return []
  const added = paired(pairs, ['b', 'a'], addedFirstMs)
  const what = `${model}: first token of (b) - (a), ms`
  return [goal(what, `≤ ${MOST_ADDED_FIRST_MS}`, added, ms => ms <= MOST_ADDED_FIRST_MS)]
}

/** More rows must never lower the total rate. The cells of a model are sorted by rows and share their rounds. */
function growthGoals(cells) {
  return cells.slice(1).flatMap((cell, index) => {
    const before = cells[index]
    if (before.model !== cell.model || before.rows >= cell.rows || !has(cell.pairs, ['b'])) return []
    const growth = quartiles(cell.pairs.map((pair, round) => rateRatio(pair.b, before.pairs[round].b)))
    return [goal(`${cell.model}: tok/s of (b) at ${cell.rows} / at ${before.rows}`, '≥ 1', growth, ratio => ratio >= 1)]
  })
}

const has = (pairs, sides) => sides.every(side => side in pairs[0])

/** A goal with its verdict, from the quartiles of the measurements. */
export function goal(what, bound, quartiles, isMet) {
  const verdict = isMet(quartiles[1]) ? 'met' : quartiles.some(isMet) ? 'open' : 'missed'
  return { what, bound, quartiles, verdict }
}
