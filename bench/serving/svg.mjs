// Draws line charts as SVG: panels side by side with axes, one line for each series, one legend. Most readers can distinguish
// the colours, and text follows the reader's light or dark theme.

const PANEL = { width: 300, height: 230, left: 62, top: 34, gap: 30 }
const LEGEND_HEIGHT = 34
const COLOURS = ['#2f7ed8', '#0f9d76', '#b8860b', '#c0392b', '#8e5bb5']
const DASHES = ['', '7 3', '2 3', '9 3 2 3', '4 4']
const STYLE =
  'text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.axis{stroke:#8c959f}.grid{stroke:#8c959f;' +
  'stroke-opacity:.25}polyline{fill:none;stroke-width:2}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}'

/**
 * A figure of panels: `{ title, x: { label, values }, y: { label, isLog, ends }, series: [{ name, values }] }`. All panels
 * show the same series; a value for each of `x.values`, in the same order. A series without values is left out.
 */
export function figure(panels) {
  const width = panels.length * (PANEL.left + PANEL.width + PANEL.gap)
  const height = PANEL.top + PANEL.height + 48 + LEGEND_HEIGHT
  const drawn = panels.map((panel, index) => drawPanel(panel, index * (PANEL.left + PANEL.width + PANEL.gap)))
  const legend = drawLegend(panels[0].series, height - 12)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<style>${STYLE}</style>
${[...drawn, legend].join('\n')}
</svg>
`
}

function drawPanel({ title, x, y, series }, offset) {
  const left = offset + PANEL.left
  const bottom = PANEL.top + PANEL.height
  const [xAxis, yAxis] = [linear(0, x.values.at(-1)), axisOf(y, series)]
  const at = (value, number) => {
    return `${round(left + PANEL.width * xAxis.place(x.values[number]))},${round(bottom - PANEL.height * yAxis.place(value))}`
  }
  const lines = series.map(({ values }, number) => {
    const points = (values ?? []).map(at).join(' ')
    return `<polyline points="${points}" stroke="${COLOURS[number]}" stroke-dasharray="${DASHES[number]}"/>`
  })
  const yTicks = yAxis.ticks.map(tick => {
    const height = round(bottom - PANEL.height * yAxis.place(tick))
    const grid = `<line class="grid" x1="${left}" x2="${left + PANEL.width}" y1="${height}" y2="${height}"/>`
    return `${grid}${text(left - 6, height + 4, tickText(tick), 'end')}`
  })
  const xTicks = xAxis.ticks.map(tick => {
    return text(round(left + PANEL.width * xAxis.place(tick)), bottom + 17, tickText(tick), 'middle')
  })
  const middle = PANEL.top + PANEL.height / 2
  return [
    text(left, PANEL.top - 14, title, 'start', 'class="title"'),
    ...yTicks,
    ...xTicks,
    `<line class="axis" x1="${left}" x2="${left + PANEL.width}" y1="${bottom}" y2="${bottom}"/>`,
    `<line class="axis" x1="${left}" x2="${left}" y1="${PANEL.top}" y2="${bottom}"/>`,
    text(left + PANEL.width / 2, bottom + 36, x.label, 'middle'),
    text(offset + 14, middle, y.label, 'middle', `transform="rotate(-90 ${offset + 14} ${middle})"`),
    ...lines,
  ].join('\n')
}

function drawLegend(series, height) {
  const entry = ({ name }, number) => {
    const left = PANEL.left + number * 150
    const stroke = `stroke="${COLOURS[number]}" stroke-dasharray="${DASHES[number]}" stroke-width="2"`
    return `<line x1="${left}" x2="${left + 30}" y1="${height - 4}" y2="${height - 4}" ${stroke}/>${text(left + 36, height, name, 'start')}`
  }
  return series.map(entry).join('\n')
}

function axisOf({ isLog, ends }, series) {
  if (ends) return linear(...ends)
  const values = series.flatMap(({ values }) => values ?? [])
  return isLog ? logarithmic(Math.min(...values), Math.max(...values)) : linear(0, Math.max(...values))
}

function linear(low, high) {
  const rough = (high - low) / 5
  const magnitude = 10 ** Math.floor(Math.log10(rough))
  const step = magnitude * [1, 2, 5, 10].find(factor => factor * magnitude >= rough)
  const end = low + Math.ceil((high - low) / step - 1e-9) * step
  const ticks = Array.from({ length: Math.round((end - low) / step) + 1 }, (_, number) => low + number * step)
  return { ticks, place: value => (value - low) / (end - low) }
}

/** Whole powers of ten. */
function logarithmic(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))]
  const ticks = Array.from({ length: last - first + 1 }, (_, number) => 10 ** (first + number))
  return { ticks, place: value => (Math.log10(value) - first) / (last - first) }
}

const text = (x, y, content, anchor, more = '') =>
  `<text x="${x}" y="${y}" text-anchor="${anchor}" ${more}>${content}</text>`
const round = value => Math.round(value * 10) / 10
const tickText = value => Number(value.toPrecision(6)).toLocaleString('en-US')
