// The live page of `serve --dashboard`: one HTML document with its style and script. It works with a keyboard and with screen
// readers, in light and dark. `Monitor` makes the figures; the script only puts them in their places, as text.

import { SCRIPT } from './dashboardscript'
import { STYLE } from './dashboardstyle'

/** A figure: its name in `Snapshot.fields`, and its label. */
type Figure = readonly [name: string, label: string]

/** Lines over time: the title, and for each line its name in `Snapshot.series` and its label. */
const CHARTS: readonly (readonly [id: string, title: string, lines: readonly Figure[]])[] = [
  ['rate', 'Tokens a second', [['tokensPerSecond', 'tokens a second']]],
  [
    'requests',
    'Requests',
    [
      ['running', 'in the batch'],
      ['queued', 'in the queue'],
    ],
  ],
  [
    'first',
    'First token, ms',
    [
      ['ttftP50', 'median'],
      ['ttftP95', '95 %'],
    ],
  ],
]

const GROUPS: readonly (readonly [title: string, figures: readonly Figure[]])[] = [
  [
    'Now',
    [
      ['tokensPerSecond', 'Tokens a second'],
      ['running', 'Requests in the batch'],
      ['queued', 'Requests in the queue'],
      ['joined', 'Sharing a running answer'],
    ],
  ],
  [
    'First token',
    [
      ['ttftP50', '50 % within'],
      ['ttftP95', '95 % within'],
      ['ttftP99', '99 % within'],
    ],
  ],
  [
    'Batching',
    [
      ['batchLimit', 'Batch limit'],
      ['meanBatch', 'Mean batch'],
      ['window', 'Idle window'],
    ],
  ],
  [
    'Shared answers',
    [
      ['shared', 'Not computed again'],
      ['hitsRunning', 'Joined a running answer'],
      ['hitsEnded', 'Got one just ended'],
      ['hitsCached', 'Got a cached one'],
      ['cached', 'Kept'],
    ],
  ],
  [
    'Prefix cache',
    [
      ['prefixHits', 'Hits'],
      ['prefixTokens', 'Tokens reused'],
      ['prefixKept', 'Sequences kept'],
      ['prefixKeptTokens', 'Their tokens'],
    ],
  ],
  [
    'Since the start',
    [
      ['completed', 'Completed'],
      ['failed', 'Failed'],
      ['cancelled', 'Cancelled'],
      ['refused', 'Refused'],
      ['uptime', 'Running for'],
    ],
  ],
  [
    'Memory',
    [
      ['kv', 'KV'],
      ['weights', 'Weights'],
      ['process', 'Process'],
    ],
  ],
]

/** Figures with a meter below them. */
const METERS = new Set(['kv', 'weights'])

const COLUMNS = ['Model', 'Kind', 'Weights', 'Batch', 'Queue', 'Window', 'KV', 'Recomputed']

const chart = ([id, title, lines]: (typeof CHARTS)[number]): string => `
<section class="chart" aria-labelledby="${id}-title">
<h2 id="${id}-title">${title}</h2>
<div class="plot">
<svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-labelledby="${id}-title ${id}-range">
<path class="grid" d="M0 1H100M0 20H100M0 39H100"/>
${lines.map(([name], at) => `<polyline class="line-${at}" data-line="${name}" points=""/>`).join('\n')}
</svg>
<span class="top" data-top="${id}" aria-hidden="true"></span><span class="bottom" aria-hidden="true">0</span>
</div>
<p class="range" id="${id}-range" data-range="${id}">…</p>
${lines.length > 1 ? `<p class="legend">${lines.map(([, label], at) => `<span class="key-${at}">${label}</span>`).join(' ')}</p>` : ''}
</section>`

const figure = ([name, label]: Figure): string => {
  const meter = METERS.has(name)
    ? `<dd class="meter"><meter data-share="${name}" min="0" max="1" aria-label="${label}"></meter></dd>`
    : ''
  return `<div><dt>${label}</dt><dd data-field="${name}">…</dd>${meter}</div>`
}

const group = ([title, figures]: (typeof GROUPS)[number], at: number): string => `
<section aria-labelledby="group-${at}">
<h2 id="group-${at}">${title}</h2>
<dl>${figures.map(figure).join('\n')}</dl>
</section>`

export const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mlx-serving</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>mlx-serving</h1>
<p id="status" role="status">Connecting</p>
<button id="pause" type="button" aria-pressed="false">Pause</button>
</header>
<main>
<div id="charts">${CHARTS.map(chart).join('')}
</div>
<div id="groups">${GROUPS.map(group).join('')}
</div>
<section>
<div class="scroll" tabindex="0" role="region" aria-label="Models">
<table>
<caption>Models</caption>
<thead><tr>${COLUMNS.map(title => `<th scope="col">${title}</th>`).join('')}</tr></thead>
<tbody id="models"></tbody>
</table>
</div>
</section>
</main>
<script>${SCRIPT}</script>
</body>
</html>
`
