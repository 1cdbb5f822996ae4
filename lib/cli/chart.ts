// Draws the points of a benchmark as an SVG: tokens a second by the number of requests at the same time.

import type { Point } from './bench'
import { digits } from './figures'

const WIDTH = 640
const HEIGHT = 360
const LEFT = 64
const RIGHT = 16
const TOP = 48
const BOTTOM = 56
const NUM_LINES = 4

/** Colours for light and dark pages. */
const STYLE = `
  svg { --paper: #ffffff; --ink: #1f2328; --faint: #d0d7de; --one: #0969da; --two: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #0d1117; --ink: #e6edf3; --faint: #30363d; --one: #58a6ff; --two: #f0883e }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink) }
  .title { font-size: 14px; font-weight: 600 }
  .grid { stroke: var(--faint) }
  polyline { fill: none; stroke-width: 2 }
  polyline.unique { stroke: var(--one) }
  circle.unique { fill: var(--one) }
  polyline.repeated { stroke: var(--two) }
  circle.repeated { fill: var(--two) }`

/** The picture as text. */
export function chartOf(model: string, points: readonly Point[]): string {
  const steps = [...new Set(points.map(({ concurrency }) => concurrency))]
  const highest = rounded(Math.max(...points.map(({ tokensPerSecond }) => tokensPerSecond)))
  const x = (concurrency: number) =>
    LEFT + ((steps.indexOf(concurrency) + 0.5) * (WIDTH - LEFT - RIGHT)) / Math.max(steps.length, 1)
  const y = (rate: number) => HEIGHT - BOTTOM - (rate * (HEIGHT - TOP - BOTTOM)) / highest
  const title = `Tokens a second of ${escaped(model)}`
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="title desc">
<title id="title">${title}, by requests at the same time</title>
<desc id="desc">${points.map(sentence).join(' ')}</desc>
<style>${STYLE}
</style>
<rect width="${WIDTH}" height="${HEIGHT}" fill="var(--paper)"/>
<text class="title" x="${LEFT}" y="24">${title}</text>
${grid(highest, y)}
${steps.map(step => text(x(step), HEIGHT - BOTTOM + 20, `${step}`)).join('\n')}
${text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, 'requests at the same time')}
${line(
  'unique',
  points.filter(({ duplicates }) => duplicates === 0),
  x,
  y,
)}
${line(
  'repeated',
  points.filter(({ duplicates }) => duplicates > 0),
  x,
  y,
)}
</svg>
`
}

function sentence({ concurrency, duplicates, tokensPerSecond }: Point): string {
  const what = duplicates > 0 ? `, ${Math.round(duplicates * 100)} % duplicates` : ''
  return `${concurrency} at a time${what}: ${digits(tokensPerSecond)}.`
}

function grid(highest: number, y: (rate: number) => number): string {
  return Array.from({ length: NUM_LINES + 1 }, (_, at) => {
    const rate = (highest * at) / NUM_LINES
    const rule = `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(rate)}" y2="${y(rate)}"/>`
    return `${rule}<text x="${LEFT - 8}" y="${y(rate) + 4}" text-anchor="end">${Number(rate.toPrecision(3))}</text>`
  }).join('\n')
}

function line(kind: string, points: readonly Point[], x: (at: number) => number, y: (rate: number) => number): string {
  if (points.length === 0) return ''
  const places = points.map(({ concurrency, tokensPerSecond: rate }) => [x(concurrency), y(rate)] as const)
  const dots = places.map(([left, top]) => `<circle class="${kind}" cx="${left}" cy="${top}" r="3"/>`)
  const [end = 0, top = 0] = places.at(-1) ?? []
  const label = kind === 'unique' ? 'no duplicates' : 'duplicates'
  return `<polyline class="${kind}" points="${places.map(place => place.join(',')).join(' ')}"/>
${dots.join('')}<text x="${end}" y="${top - 8}" text-anchor="middle">${label}</text>`
}

function text(x: number, y: number, content: string): string {
  return `<text x="${x}" y="${y}" text-anchor="middle">${content}</text>`
}

/** The next number of the form 1, 2, 2.5 or 5 times a power of ten. */
function rounded(rate: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(rate, 1e-3)))
  return [1, 2, 2.5, 5, 10].map(step => step * power).find(step => step >= rate) ?? rate
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, character => `&#${character.charCodeAt(0)};`)
}
