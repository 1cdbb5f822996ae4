// The progress of a soak on stderr: a bar on a terminal, and a line for each tenth in a log.

import { dim } from '../../tools/build/terminal.mjs'

const WIDTH = 24
const shown = new WeakMap()

/** Shows how far a soak is. */
export function showBar(record) {
  const last = record.samples.at(-1)
  if (last === undefined) return
  const line = lineOf(record, last)
  if (process.stderr.isTTY) {
    process.stderr.write(`\r\u001b[K${line}${record.exit === undefined ? '' : '\n'}`)
    return
  }
  const tenth = Math.floor(10 * last.part)
  if (shown.get(record) === tenth) return
  shown.set(record, tenth)
  process.stderr.write(`${line}\n`)
}

function lineOf({ plan, numViolations }, { part, hour, seconds, requests, rss }) {
  const full = Math.round(WIDTH * part)
  const bar = `${'█'.repeat(full)}${dim('░'.repeat(WIDTH - full))}`
  const left = Math.ceil((seconds * (1 - part)) / part / 60)
  const figures = [`hour ${hour}`, `${requests.toLocaleString('en-US')} requests`, `${(rss / 2 ** 20).toFixed(0)} MiB`]
  if (numViolations > 0) figures.push(`${numViolations} violations`)
  return `${plan.kind.padEnd(9)} ${bar} ${Math.floor(100 * part)} %  ${figures.join(', ')}, ${left} min left`
}
