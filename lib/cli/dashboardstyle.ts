// The style of the live page. Its colours have enough contrast in light and dark, and lines differ by more than their colour.

export const STYLE = `
:root { color-scheme: light dark; --paper: light-dark(#f6f8fa, #0d1117); --card: light-dark(#ffffff, #161b22);
  --ink: light-dark(#1f2328, #e6edf3); --faint: light-dark(#59636e, #9198a1); --line: light-dark(#d1d9e0, #3d444d);
  --accent: light-dark(#0969da, #4493f8); --second: light-dark(#9a4d00, #d29922) }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 76rem; padding: .75rem 1rem 1rem; background: var(--paper); color: var(--ink);
  font: .95rem/1.4 system-ui, sans-serif }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .75rem; margin-bottom: .75rem }
h1 { font-size: 1.3rem; margin: 0; flex: 1 }
h2 { font-size: .95rem; margin: 0 0 .4rem }
p { margin: 0 }
button { font: inherit; padding: .25rem 1rem; border: 1px solid var(--line); border-radius: .4rem;
  background: var(--card); color: inherit; cursor: pointer }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
#charts, #groups { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: .75rem; margin-bottom: .75rem }
#groups { columns: 17rem; display: block; column-gap: .75rem }
#groups section { break-inside: avoid; margin-bottom: .75rem }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem }
dl { margin: 0; display: grid; gap: .3rem }
dl > div { display: flex; flex-wrap: wrap; justify-content: space-between; column-gap: 1rem }
dt { color: var(--faint) }
dd { margin: 0; font-variant-numeric: tabular-nums; text-align: end; margin-inline-start: auto }
.meter { width: 100% }
meter { width: 100%; height: .8rem }
.plot { position: relative; padding-inline-end: 3.2rem }
.plot span { position: absolute; inset-inline-end: 0; width: 2.9rem; font-size: .8rem; line-height: 1; color: var(--faint);
  font-variant-numeric: tabular-nums }
.top { top: 0 }
.bottom { bottom: 0 }
svg { display: block; width: 100%; height: 6.5rem }
path, polyline { fill: none; vector-effect: non-scaling-stroke }
.grid { stroke: var(--line); stroke-width: 1 }
polyline { stroke: var(--accent); stroke-width: 2 }
.line-1 { stroke: var(--second); stroke-dasharray: 5 3 }
.range, .legend { color: var(--faint); font-size: .85rem; margin-top: .35rem }
.legend span { margin-inline-end: 1rem; white-space: nowrap }
.legend span::before { content: ""; display: inline-block; width: 1.4rem; border-top: 2px solid var(--accent);
  vertical-align: middle; margin-inline-end: .4rem }
.legend .key-1::before { border-top: 2px dashed var(--second) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
caption { text-align: start; font-weight: 600; margin-bottom: .4rem }
th, td { text-align: start; padding: .3rem .75rem .3rem 0; border-top: 1px solid var(--line); white-space: nowrap }
thead th { color: var(--faint); font-weight: 500 }
`
