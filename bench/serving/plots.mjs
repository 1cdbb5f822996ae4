// The plots of docs/scheduler-results.md: throughput and time to the first token against load, for every policy.

import { figure } from './svg.mjs'

const POLICIES = ['default', 'no window', 'fixed 2 ms', 'one at a time', 'v1.4.2']
const DEVICES = { '3b': 'm3-max/llama-3.2-3b-4bit', '8b': 'm3-max/llama-3.1-8b-4bit' }
const WORKLOADS = {
  poisson: { title: 'independent users', label: 'requests a second' },
  bursty: { title: 'bursts of eight', label: 'requests a second' },
  users: { title: 'closed loop', label: 'users, one request each at a time' },
}

/** Names and SVG texts of all plots. */
export function plotsOf(cells) {
  return Object.entries(DEVICES).flatMap(([device, profile]) =>
    Object.entries(WORKLOADS).map(([workload, words]) => {
      const own = cells.filter(cell => cell.profile === profile && cell.workload === workload)
      return [`${device}-${workload}`, figure(panels(own, { ...words, device: device.toUpperCase() }))]
    }),
  )
}

function panels(cells, { device, title, label }) {
  const values = [...new Set(cells.map(cell => cell.load))]
  const served = (policy, load) => cells.find(cell => cell.load === load && cell.policy === policy).report.served
  const panel = (what, y, of, policies = POLICIES) => ({
    title: `${device}, ${title}: ${what}`,
    x: { label, values },
    y,
    series: POLICIES.map(name => ({
      name,
      values: policies.includes(name)
        ? values.map(load => of(served(name, load), served('no window', load)))
        : undefined,
    })),
  })
  return [
    panel('throughput', { label: 'tokens a second' }, own => own.tokensPerSecond),
    panel('first token, p95', { label: 'seconds', isLog: true }, own => own.ttftMs.p95 / 1000),
    panel(
      'cost of windows',
      { label: 'median first token / no window', ends: [0.6, 1.2] },
      (own, without) => own.ttftMs.p50 / without.ttftMs.p50,
      ['default', 'no window', 'fixed 2 ms'],
    ),
  ]
}
