// The tables, the goals and the plot of `npm run bench:server`.

import { bold } from '../../tools/build/terminal.mjs'
import { goal } from '../goals.mjs'
import { range, table } from '../report.mjs'
import { figure } from '../serving/svg.mjs'
import { addedFirstMs, median, paired, quartiles, rateRatio } from '../statistics.mjs'

const MOST_ADDED_FIRST_MS = 1
const LEAST_RATE = 0.95
const LEAST_RATE_BESIDE = 1.5

export function goalsOf(cells) {
  return cells.flatMap(({ device, kind, streams, pairs }) => {
    const at = `${device}, ${streams === 1 ? '1 stream' : `${streams} streams`}`
    const rate = least => ratio => ratio >= least
    if (kind === 'beside') {
      const ratio = paired(pairs, ['http', 'mlxLm'], rateRatio)
      return [goal(`${at}: tok/s against mlx_lm.server`, `≥ ${LEAST_RATE_BESIDE}`, ratio, rate(LEAST_RATE_BESIDE))]
    }
    if (streams === 1) {
      const added = paired(pairs, ['http', 'direct'], addedFirstMs)
      const isMet = ms => ms <= MOST_ADDED_FIRST_MS
      return [goal(`${at}: added to the first token, ms`, `≤ ${MOST_ADDED_FIRST_MS}`, added, isMet)]
    }
    if (streams !== 64) return []
    const ratio = paired(pairs, ['http', 'direct'], rateRatio)
    return [goal(`${at}: tok/s against the call`, `≥ ${LEAST_RATE}`, ratio, rate(LEAST_RATE))]
  })
}

export function printTables(cells) {
  console.log(`\n${bold('Over HTTP against the call in the process')}: medians [quartiles] of interleaved runs`)
  table(cells.filter(({ kind }) => kind === 'overhead').map(overheadRow))
  const others = cells.filter(({ kind }) => kind === 'beside')
  if (others.length === 0) return
  console.log(`\n${bold('Beside mlx_lm.server')}: medians [quartiles] of interleaved runs`)
  table(others.map(besideRow))
}

function overheadRow({ device, streams, pairs }) {
  return {
    device,
    streams,
    pairs: pairs.length,
    'first ms, call': middle(pairs, 'direct', 'firstMs', 2),
    HTTP: middle(pairs, 'http', 'firstMs', 2),
    'added ms': range(paired(pairs, ['http', 'direct'], addedFirstMs)),
    'bare server': middle(pairs, 'bare', 'firstMs', 2),
    'tok/s, call': middle(pairs, 'direct', 'tokensPerSecond', 0),
    'HTTP ': middle(pairs, 'http', 'tokensPerSecond', 0),
    'HTTP / call': range(paired(pairs, ['http', 'direct'], rateRatio)),
    // The processor time that the server adds; that of the client is in another process.
    'added cpu, µs a token': range(
      quartiles(pairs.map(({ http, direct }) => 1000 * (http.cpuMsPerToken - direct.cpuMsPerToken))),
    ),
    'bare server ': (1000 * median(pairs.map(({ bare }) => bare.cpuMsPerToken))).toFixed(1),
  }
}

function besideRow({ device, streams, pairs }) {
  return {
    device,
    streams,
    pairs: pairs.length,
    'tok/s, mlx-serving': middle(pairs, 'http', 'tokensPerSecond', 0),
    'mlx_lm.server': middle(pairs, 'mlxLm', 'tokensPerSecond', 0),
    ratio: range(paired(pairs, ['http', 'mlxLm'], rateRatio)),
    'first ms, mlx-serving': middle(pairs, 'http', 'firstMs', 1),
    'mlx_lm.server ': middle(pairs, 'mlxLm', 'firstMs', 1),
  }
}

const middle = (pairs, side, field, digits) => median(pairs.map(pair => pair[side][field])).toFixed(digits)

const SERIES = { direct: 'call in the process', http: 'over HTTP' }

/** Tokens a second of each device against the number of streams. */
export function plotOf(cells) {
  const devices = [...new Set(cells.map(({ device }) => device))]
  return figure(
    devices.map(device => {
      const own = cells.filter(cell => cell.device === device && cell.kind === 'overhead')
      return {
        title: device,
        x: { label: 'streams at the same time', values: own.map(({ streams }) => streams) },
        y: { label: 'tokens a second' },
        series: Object.entries(SERIES).map(([side, name]) => ({
          name,
          values: own.map(({ pairs }) => median(pairs.map(pair => pair[side].tokensPerSecond))),
        })),
      }
    }),
  )
}
