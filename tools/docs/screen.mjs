// The screen of a terminal after a program has written to it: rows of runs of text, each with its style. Knows the escape
// sequences of this repository's programs and of npm, and fails on others. Draws nothing.

const ESCAPE = '\u001b'
const TOKENS = new RegExp(`${ESCAPE}\\[([\\d;?]*)([A-Za-z])|[\\r\\n]|[^${ESCAPE}\\r\\n]+`, 'g')

/** Styles by the code that switches them on. Code 0 switches all of them off. */
const STYLES = { 1: 'bold', 2: 'dim', 31: 'red', 32: 'green', 33: 'yellow', 36: 'cyan' }
/** Codes that switch some styles off. */
const ENDS = { 22: ['bold', 'dim'], 39: ['red', 'green', 'yellow', 'cyan'] }

/** The rows of the screen, without empty ones at the end: `[{ text, styles }]` for each row. */
export function screenAfter(output) {
  const screen = { rows: [[]], row: 0, column: 0, styles: [] }
  let end = 0
  for (const match of output.matchAll(TOKENS)) {
    if (match.index !== end) throw new Error(`unknown escape sequence: ${JSON.stringify(output.slice(end, end + 8))}`)
    end += match[0].length
    apply(screen, match)
  }
  const rows = screen.rows.map(runsOf)
  while (rows.length > 0 && rows.at(-1).length === 0) rows.pop()
  return rows
}

function apply(screen, [whole, parameters, command]) {
  if (command) return control(screen, command, parameters)
  if (whole === '\r') screen.column = 0
  else if (whole === '\n') moveTo(screen, screen.row + 1)
  else for (const character of whole) write(screen, character)
}

function control(screen, command, parameters) {
  const count = Number(parameters || 1)
  if (command === 'm') screen.styles = parameters.split(';').reduce(restyle, screen.styles)
  else if (command === 'A') moveTo(screen, Math.max(0, screen.row - count))
  else if (command === 'G') screen.column = count - 1
  else if (command === 'K') screen.rows[screen.row].length = Math.min(screen.rows[screen.row].length, screen.column)
  // Modes of the terminal, such as a hidden cursor, change no text.
  else if (command !== 'h' && command !== 'l') throw new Error(`unknown escape sequence: [${parameters}${command}`)
}

function restyle(styles, code) {
  const number = Number(code)
  if (number === 0) return []
  if (ENDS[number]) return styles.filter(style => !ENDS[number].includes(style))
  if (STYLES[number]) return [...styles, STYLES[number]]
  throw new Error(`unknown style: ${code}`)
}

function moveTo(screen, row) {
  screen.row = row
  while (screen.rows.length <= row) screen.rows.push([])
}

function write(screen, character) {
  const row = screen.rows[screen.row]
  while (row.length < screen.column) row.push({ character: ' ', styles: [] })
  row[screen.column++] = { character, styles: screen.styles }
}

/** Neighbours of one style become one run; spaces at the end of a row are dropped. */
function runsOf(cells) {
  const runs = []
  for (const { character, styles } of cells.slice(0, cells.findLastIndex(cell => cell.character !== ' ') + 1)) {
    const last = runs.at(-1)
    if (last && last.styles.join() === styles.join()) last.text += character
    else runs.push({ text: character, styles })
  }
  return runs
}
