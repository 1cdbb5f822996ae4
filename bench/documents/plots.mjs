// The plot of a device: for each load, how many answers the engine and the plain engine have given over time, in the first pair.

import { figure } from '../serving/svg.mjs'

const POINTS = 60
const SERIES = { engine: 'engine', plain: 'plain engine' }

export const plotOf = ({ loads }) => figure(loads.map(panel))

function panel({ name, pairs }) {
  const [pair] = pairs
  const end = Math.max(...Object.keys(SERIES).map(side => pair[side].seconds))
  const times = Array.from({ length: POINTS + 1 }, (_, n) => (end * n) / POINTS)
  const answered = side => {
    const ends = pair[side].outcomes.filter(({ group }) => group !== 'steady').map(({ endedMs }) => endedMs / 1000)
    return times.map(time => ends.filter(at => at <= time).length)
  }
  return {
    title: name,
    x: { label: 'seconds', values: times },
    y: { label: 'answers' },
    series: Object.entries(SERIES).map(([side, text]) => ({ name: text, values: answered(side) })),
  }
}
