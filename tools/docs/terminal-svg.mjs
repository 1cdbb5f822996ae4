// `node tools/docs/terminal-svg.mjs`: runs `npm start` in a terminal, and draws what it shows at the end as docs/start.svg.
// The picture is made by hand, not checked by CI: its times differ with every run. Needs Python 3, for the terminal.

import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { main } from '../build/failure.mjs'
import { at, root } from '../build/repository.mjs'
import { screenAfter } from './screen.mjs'

const COMMAND = 'npm start'
const COLUMNS = 120
const TERMINAL = `import pty, sys; sys.exit(pty.spawn(['sh', '-c', sys.argv[1]]) >> 8)`

const CELL = { width: 8.4, height: 20, font: 14 }
const MARGIN = { x: 18, top: 48, bottom: 16 }
const STYLE = `
.back{fill:#f6f8fa;stroke:#d0d7de}.mark{fill:#d0d7de}
text{font:${CELL.font}px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#24292f}
.bold{font-weight:600}.dim{fill:#656d76}.red{fill:#cf222e}.green{fill:#1a7f37}.yellow{fill:#9a6700}.cyan{fill:#0969da}
@media(prefers-color-scheme:dark){.back{fill:#161b22;stroke:#30363d}.mark{fill:#30363d}text{fill:#e6edf3}
.dim{fill:#8b949e}.red{fill:#ff7b72}.green{fill:#3fb950}.yellow{fill:#d29922}.cyan{fill:#58a6ff}}`

/** Columns of a text: the programs that are drawn write no wide characters. */
const cells = text => [...text].length
const tenths = value => Math.round(value * 10) / 10
const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }
const escaped = text => text.replace(/[&<>]/g, character => ENTITIES[character])

await main(async () => {
  // Everything is built first, so that the picture shows the program and not the compiler.
  await run('npm', ['start'])
  const output = await run('python3', ['-c', TERMINAL, `stty cols ${COLUMNS} rows 40; exec ${COMMAND}`])
  const rows = screenAfter(`\u001b[2m$\u001b[0m ${COMMAND}\r\n${output}`)
  writeFileSync(at('docs', 'start.svg'), drawing(rows))
  console.log(`docs/start.svg: ${rows.length} rows`)
})

function run(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'], env: environment() })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', text => {
      output += text
    })
    child.on('error', reject)
    child.on('close', code => (code === 0 ? resolve(output) : reject(new Error(`${program} ended with ${code}`))))
  })
}

/** The environment of this process, for a plain colour terminal. */
function environment() {
  const { NO_COLOR: _, FORCE_COLOR: __, ...rest } = process.env
  return { ...rest, TERM: 'xterm-256color' }
}

function drawing(rows) {
  const widths = rows.map(runs => runs.reduce((sum, { text }) => sum + cells(text), 0))
  const width = Math.ceil(2 * MARGIN.x + Math.max(...widths) * CELL.width)
  const height = MARGIN.top + rows.length * CELL.height + MARGIN.bottom
  const marks = [0, 1, 2].map(index => `<circle class="mark" cx="${MARGIN.x + 6 + 20 * index}" cy="20" r="6"/>`)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>A terminal in which ${COMMAND} has run</title>
<style>${STYLE}</style>
<rect class="back" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>
${marks.join('')}
${rows.map(drawRow).filter(Boolean).join('\n')}
</svg>
`
}

/** One text element for each run of words. Its width is that of its cells, in any font. */
function drawRow(runs, row) {
  const y = MARGIN.top + row * CELL.height + CELL.font
  let column = 0
  return runs
    .map(({ text, styles }) => {
      const style = styles.length > 0 ? ` class="${styles.join(' ')}"` : ''
      // Wide gaps are positions, not spaces: spaces at the ends of an element and in a row are not kept everywhere.
      const words = [...text.matchAll(/\S+(?: \S+)*/g)].map(({ 0: part, index }) => {
        const x = tenths(MARGIN.x + (column + cells(text.slice(0, index))) * CELL.width)
        const length = tenths(cells(part) * CELL.width)
        return `<text x="${x}" y="${y}" textLength="${length}" lengthAdjust="spacingAndGlyphs"${style}>${escaped(part)}</text>`
      })
      column += cells(text)
      return words.join('')
    })
    .join('')
}
