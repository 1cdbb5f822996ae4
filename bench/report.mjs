// Prints a comparison: a table for each model, and the goals with their verdicts.

import { bold, dim, green, red } from '../tools/build/terminal.mjs'
import { SIDES } from './options.mjs'
import { addedFirstMs, cpuRatio, paired, quartiles, rateRatio } from './statistics.mjs'

const COLOURS = { met: green, missed: red, open: dim }

/** The summary of a cell: quartiles of each side. */
export function summarize(pairs) {
  const letters = Object.keys(pairs[0]).sort()
  const ofSide = letter => ({
    firstMs: quartiles(pairs.map(pair => pair[letter].firstMs)),
    tokensPerSecond: quartiles(pairs.map(pair => pair[letter].tokensPerSecond)),
  })
  return Object.fromEntries(letters.map(letter => [letter, ofSide(letter)]))
}

/** (b) compared with each other side. */
export function compare(pairs) {
  const others = 'b' in pairs[0] ? Object.keys(pairs[0]).filter(letter => letter !== 'b') : []
  const against = other => ({
    rate: paired(pairs, ['b', other], rateRatio),
    cpu: paired(pairs, ['b', other], cpuRatio),
    addedFirstMs: paired(pairs, ['b', other], addedFirstMs),
    sameAnswers: share(pairs, other),
  })
  return Object.fromEntries(others.sort().map(other => [other, against(other)]))
}

/** The share of answers that are equal in (b) and another side, if that side reports its tokens. */
function share(pairs, other) {
  const answers = pairs.flatMap(pair => (pair[other].answers ?? []).map((answer, row) => [answer, pair.b.answers[row]]))
  return answers.length === 0 ? null : answers.filter(([one, same]) => `${one}` === `${same}`).length / answers.length
}

export function printCells(cells) {
  for (const model of new Set(cells.map(cell => cell.model))) {
    console.log(`\n${bold(model)}: medians [quartiles] of interleaved runs`)
    table(cells.filter(cell => cell.model === model).map(row))
  }
  const present = Object.keys(cells[0].summary)
  console.log(dim(present.map(letter => `(${letter}) ${SIDES[letter]}`).join(', ')))
}

function row({ rows, pairs, summary, comparison }) {
  const ofSides = Object.entries(summary).flatMap(([letter, { firstMs, tokensPerSecond }]) => [
    [`(${letter}) first ms`, firstMs[1].toFixed(1)],
    [`(${letter}) tok/s`, tokensPerSecond[1].toFixed(0)],
  ])
  const ratios = Object.entries(comparison).map(([other, { rate }]) => [`(b)/(${other}) tok/s`, range(rate)])
  const cpu = comparison.a ? [['(b)/(a) cpu', range(comparison.a.cpu)]] : []
  return Object.fromEntries([['rows', rows], ['pairs', pairs.length], ...ofSides, ...ratios, ...cpu])
}

export function printGoals(goals) {
  console.log(`\n${bold('Goals')}`)
  table(
    goals.map(({ what, bound, quartiles, verdict }) => ({
      goal: what,
      bound,
      measured: range(quartiles),
      verdict: COLOURS[verdict](verdict),
    })),
  )
}

export const range = ([low, middle, high]) =>
  low === high ? number(middle) : `${number(middle)} [${number(low)}-${number(high)}]`
const number = value => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2))

/** Prints a Markdown table with aligned columns. */
export function table(rows) {
  const names = Object.keys(rows[0])
  const lines = [names, names.map(() => '---'), ...rows.map(row => names.map(name => `${row[name]}`))]
  const widths = names.map((_, column) => Math.max(...lines.map(line => line[column].length)))
  for (const line of lines) console.log(`| ${line.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`)
}
