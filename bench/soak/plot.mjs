// The plot of a soak: resident memory and V8's heap against the number of requests.

import { figure } from '../serving/svg.mjs'

const MEBIBYTE = 2 ** 20
const TITLES = { simulated: 'simulated device', mlx: 'MLX' }

/** The SVG of all records that have samples; `undefined` if none has. */
export function memoryPlot(records) {
  const panels = records.filter(({ samples }) => samples.length > 1).map(panel)
  return panels.length === 0 ? undefined : figure(panels)
}

function panel({ plan, samples }) {
  const from = field => samples.map(sample => sample[field] / MEBIBYTE)
  return {
    title: `${TITLES[plan.kind]}: memory after each hour`,
    x: { label: 'thousands of requests', values: samples.map(({ requests }) => requests / 1000) },
    y: { label: 'MiB' },
    series: [
      { name: 'resident', values: from('rss') },
      { name: 'JavaScript heap', values: from('heapUsed') },
    ],
  }
}
