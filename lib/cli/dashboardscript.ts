// The script of the live page: asks for the figures once a second, and draws the lines of the last two minutes.

export const SCRIPT = `
const EVERY_MS = 1000
const NUM_SHOWN = 120
/** A page that was just opened shows this many seconds. */
const LEAST_SHOWN = 30
const seconds = []
const status = document.getElementById('status')
const pause = document.getElementById('pause')
let isPaused = false

const say = text => { if (status.textContent !== text) status.textContent = text }

function show(look) {
  for (const place of document.querySelectorAll('[data-field]')) place.textContent = look.fields[place.dataset.field]
  for (const meter of document.querySelectorAll('meter')) {
    const share = look.shares[meter.dataset.share]
    meter.value = share
    meter.setAttribute('aria-valuetext', Math.round(share * 100) + ' %')
  }
  seconds.push(look.series)
  if (seconds.length > NUM_SHOWN) seconds.shift()
  for (const chart of document.querySelectorAll('.chart')) draw(chart)
  document.getElementById('models').replaceChildren(...look.models.map(rowOf))
}

function rowOf(texts) {
  const row = document.createElement('tr')
  row.append(...texts.map((text, at) => {
    const cell = document.createElement(at === 0 ? 'th' : 'td')
    if (at === 0) cell.scope = 'row'
    cell.textContent = text
    return cell
  }))
  return row
}

function draw(chart) {
  const lines = [...chart.querySelectorAll('polyline')]
  const seen = lines.flatMap(line => seconds.map(series => series[line.dataset.line]).filter(value => value !== null))
  const highest = Math.max(...seen, 0)
  const top = roundUp(highest)
  const width = Math.max(seconds.length, LEAST_SHOWN)
  const x = at => ((width - seconds.length + at) * 100) / (width - 1)
  for (const line of lines) {
    const points = seconds.map((series, at) => [x(at), series[line.dataset.line]]).filter(([, value]) => value !== null)
    line.setAttribute('points', points.map(([at, value]) => at.toFixed(2) + ',' + (39 - (value * 38) / top).toFixed(2)).join(' '))
  }
  chart.querySelector('[data-top]').textContent = top.toLocaleString('en-US')
  const shown = seconds.length
  const since = shown >= NUM_SHOWN ? 'the last two minutes' : 'the last ' + shown + ' s'
  chart.querySelector('[data-range]').textContent = 'Highest in ' + since + ': ' + numberOf(highest)
}

const numberOf = value => (value >= 10 ? Math.round(value) : Math.round(value * 100) / 100).toLocaleString('en-US')

/** 1, 2 or 5 times a power of ten, so that the scale seldom changes. */
function roundUp(value) {
  if (value <= 1) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return power * [1, 2, 5, 10].find(factor => factor * power >= value)
}

async function update() {
  try {
    const response = await fetch('stats', { cache: 'no-store' })
    if (response.status === 503) return say('Models are being loaded')
    if (!response.ok) throw new Error(String(response.status))
    const look = await response.json()
    if (isPaused) return
    show(look)
    say('Live')
  } catch {
    if (!isPaused) say('The server does not answer')
  }
}

/** A page that is not seen, or paused, asks nothing. */
async function run() {
  if (!isPaused && !document.hidden) await update()
  setTimeout(run, EVERY_MS)
}

pause.addEventListener('click', () => {
  isPaused = !isPaused
  pause.setAttribute('aria-pressed', String(isPaused))
  say(isPaused ? 'Paused' : 'Live')
})
run()
`
