// The goals of the scheduler and their verdicts. A simulation has no noise, so a goal is met or missed, at its worst cell. For a
// cell that ran several times with different requests, the median of the runs decides.

import { quartiles } from '../statistics.mjs'

const DEVICES = { '3B': 'm3-max/llama-3.2-3b-4bit', '8B': 'm3-max/llama-3.1-8b-4bit' }
/** Workloads on which the adaptive window is compared with none. */
const WINDOWED = ['poisson', 'bursty', 'ramp', 'short and long prompts', 'users']

/** The goals, decided by the runs of all cells. */
export function goalsOf(runs, sample, overload) {
  const ofDevices = Object.entries(DEVICES).flatMap(([name, profile]) => {
    const own = runs.filter(cell => cell.profile === profile)
    return [...questionGoals(own), ...crowdGoals(own), ...windowGoals(own)].map(({ what, ...goal }) => {
      return { what: `${name}: ${what}`, ...goal }
    })
  })
  return [...ofDevices, ...sampleGoals(sample), ...overloadGoals(overload)]
}

/** The cell of a workload, load and policy in one run. */
export function find(cells, workload, load, policy, run = 0) {
  const isIt = cell => cell.workload === workload && cell.load === load && cell.policy === policy && cell.run === run
  return cells.find(isIt)
}

function questionGoals(cells) {
  const { bareFirstTokenMs, bareTotalMs, report } = find(cells, 'questions', 1, 'default')
  const { meanRequestMs, meanTtftMs, requests, seconds } = report.served
  const lost = 1 - (requests * bareTotalMs) / 1000 / seconds
  return [
    goal('50 questions: overhead, %', 100 * (meanRequestMs / bareTotalMs - 1), value => value <= 0.5, '≤ 0.5'),
    goal('50 questions: added first token, ms', meanTtftMs - bareFirstTokenMs, value => value <= 0.5, '≤ 0.5'),
    goal('50 questions: throughput lost, %', 100 * lost, value => value <= 0.2, '≤ 0.2'),
  ]
}

function crowdGoals(cells) {
  const of = policy => find(cells, 'users', 100, policy).report.served
  const ours = of('default')
  const against = policy => ours.ttftMs.p95 / of(policy).ttftMs.p95
  const rate = ours.tokensPerSecond / of('one at a time').tokensPerSecond
  return [
    goal('100 users: tok/s / one at a time', rate, value => value >= 5, '≥ 5'),
    ...['one at a time', 'v1.4.2'].map(policy =>
      goal(`100 users: TTFT p95 / ${policy}`, against(policy), value => value < 1, '< 1'),
    ),
    // These policies differ only on an idle engine, and this one is never idle.
    ...['fixed 2 ms', 'no window'].map(policy =>
      goal(`100 users: TTFT p95 / ${policy}`, against(policy), value => value <= 1.005, '≤ 1.005'),
    ),
  ]
}

function windowGoals(cells) {
  const all = cells.filter(cell => WINDOWED.includes(cell.workload) && cell.policy === 'default')
  const own = all.filter(({ run }) => run === 0)
  const runsOf = ({ workload, load }) => all.filter(cell => cell.workload === workload && cell.load === load)
  const median = of => cell => quartiles(runsOf(cell).map(of))[1]
  const ratio = of => cell => of(cell) / of(find(cells, cell.workload, cell.load, 'no window', cell.run))
  const rates = own.map(median(ratio(cell => cell.report.served.tokensPerSecond)))
  const firsts = own.map(median(ratio(cell => cell.report.served.ttftMs.p50)))
  // The first switch leaves the tier with which every engine begins.
  const switched = ({ report }) => (100 * Math.max(0, report.tierSwitches - 1)) / Math.max(1, report.tierSamples)
  const switches = own.map(median(switched))
  const worst = (what, values, pick, isMet, bound) => {
    const value = pick(...values)
    const { workload, load } = own[values.indexOf(value)]
    return goal(`${what} (worst: ${workload}, ${load})`, value, isMet, bound)
  }
  return [
    worst('adaptive window: tok/s by those without', rates, Math.min, value => value >= 0.995, '≥ 0.995'),
    worst('adaptive window: TTFT p50 by that without', firsts, Math.max, value => value <= 1.005, '≤ 1.005'),
    worst('adaptive window: switches of tier, %', switches, Math.max, value => value < 5, '< 5'),
  ]
}

function sampleGoals(sample) {
  const near = value => Math.abs(value - 1) <= 0.05
  return sample.flatMap(({ users, rate, ttft }) => [
    goal(`real time, ${users} users: tok/s / simulated`, rate.real / rate.simulated, near, '0.95 to 1.05'),
    goal(`real time, ${users} users: mean TTFT / simulated`, ttft.real / ttft.simulated, near, '0.95 to 1.05'),
  ])
}

function overloadGoals({ numFailed, refusalMs, goodput, recoveryMs }) {
  return [
    goal('10 x the load that fits: time of a refusal, ms p99', refusalMs.p99, value => value <= 1, '≤ 1'),
    goal('10 x the load that fits: ends that are neither answers nor Overloaded', numFailed, value => value === 0, '0'),
    goal('10 x the load that fits: good answers / those at 1 x', goodput[1], value => value >= 0.9, '≥ 0.9'),
    goal('10 x the load that fits: time to recover, ms', recoveryMs[1], value => value <= 5_000, '≤ 5000'),
  ]
}

const goal = (what, value, isMet, bound) => ({ what, bound, value, verdict: isMet(value) ? 'met' : 'missed' })
