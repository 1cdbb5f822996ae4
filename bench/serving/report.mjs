// Prints the report: a table for each device and workload, the effect of windows on bursts, the sample in real time, and the
// goals with their verdicts.

import { bold, green, red } from '../../tools/build/terminal.mjs'
import { range, table } from '../report.mjs'
import { quartiles } from '../statistics.mjs'
import { find } from './goals.mjs'

export function printReport(runs, sample, overload, goals) {
  const cells = runs.filter(({ run }) => run === 0)
  for (const profile of new Set(cells.map(cell => cell.profile))) {
    const own = cells.filter(cell => cell.profile === profile)
    for (const workload of new Set(own.map(cell => cell.workload))) {
      console.log(`\n${bold(`${profile}: ${workload}`)}`)
      table(own.filter(cell => cell.workload === workload).map(row))
    }
  }
  console.log(`\n${bold('Bursts: the median first token / no window')}`)
  table(cells.filter(({ workload, policy }) => workload === 'bursty' && policy === 'default').map(burstRow(runs)))
  console.log(`\n${bold('Real time, through JavaScript, against the simulation')}`)
  table(sample.map(sampleRow))
  console.log(`\n${bold('Ten times the load that fits, in real time')}`)
  table([overloadRow(overload)])
  console.log(`\n${bold('Goals')}`)
  table(goals.map(goalRow))
}

function row({ load, variant, policy, report }) {
  const { served, ...scheduler } = report
  return {
    load,
    ...(variant === null ? { policy } : { variant }),
    'tok/s': served.tokensPerSecond.toFixed(0),
    'good/s': served.goodput.toFixed(2),
    'TTFT ms p50/95/99': percentiles(served.ttftMs),
    ...(served.longTtftMs && { short: percentiles(served.shortTtftMs), long: percentiles(served.longTtftMs) }),
    'token ms p50/95/99': percentiles(served.interTokenMs),
    Jain: served.jain.toFixed(3),
    rows: scheduler.meanRows.toFixed(1),
    limit: scheduler.batchLimit,
    admitted: shares(scheduler.admissions),
    tiers: shares(scheduler.tiers),
    switches: `${scheduler.tierSwitches} of ${scheduler.tierSamples}`,
    preempted: scheduler.preemptions,
  }
}

/** Several runs with different requests, because the effect of a window depends on them. */
const burstRow =
  runs =>
  ({ profile, load }) => {
    const own = runs.filter(cell => cell.profile === profile)
    const first = (policy, run) => find(own, 'bursty', load, policy, run).report.served.ttftMs.p50
    const numbers = own.filter(cell => cell.workload === 'bursty' && cell.load === load && cell.policy === 'default')
    const ratios = numbers.map(({ run }) => first('default', run) / first('no window', run))
    const [low, middle, high] = quartiles(ratios).map(ratio => ratio.toFixed(3))
    return {
      profile,
      load,
      runs: ratios.length,
      'no window, ms': quartiles(numbers.map(({ run }) => first('no window', run)))[1].toFixed(0),
      default: `${middle} [${low}-${high}]`,
    }
  }

const sampleRow = ({ users, rate, ttft }) => ({
  users,
  'tok/s': rate.real.toFixed(1),
  simulated: rate.simulated.toFixed(1),
  'mean TTFT ms': ttft.real.toFixed(1),
  'simulated ': ttft.simulated.toFixed(1),
})

const overloadRow = ({ capacity, numAsked, numRefused, numFailed, refusalMs, goodput, recoveryMs }) => ({
  'fits, a second': capacity.toFixed(1),
  asked: numAsked.join(', '),
  refused: numRefused.join(', '),
  failed: numFailed,
  'refusal ms p50/99': `${refusalMs.p50.toFixed(3)} / ${refusalMs.p99.toFixed(3)}`,
  'good answers by those at 1 x': range(goodput),
  'time to recover, ms': range(recoveryMs),
})

const goalRow = ({ what, bound, value, verdict }) => ({
  goal: what,
  bound,
  measured: value.toFixed(3),
  verdict: verdict === 'met' ? green(verdict) : red(verdict),
})

const percentiles = values => (values === null ? '' : [values.p50, values.p95, values.p99].map(short).join(' / '))
const short = value => (value >= 100 ? value.toFixed(0) : value.toFixed(1))

/** The share of each part, largest first. */
function shares(parts) {
  const all = Object.values(parts).reduce((sum, part) => sum + part, 0)
  const sorted = Object.entries(parts).sort(([, one], [, other]) => other - one)
  return sorted.map(([name, part]) => `${name} ${((100 * part) / all).toFixed(0)} %`).join(', ')
}
