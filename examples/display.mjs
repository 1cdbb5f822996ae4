// Shows the answers of the examples: one line per question, and a table at the end. On a terminal a line is rewritten while its
// answer grows; elsewhere it is printed once, when the answer is complete. Knows nothing about the engine.

import { stripVTControlCharacters } from 'node:util'

const isLive = process.stdout.isTTY === true && process.env.TERM !== 'dumb'
const isColourful = !process.env.NO_COLOR && (isLive || Boolean(process.env.FORCE_COLOR))
const style = code => text => (isColourful ? `\u001b[${code}m${text}\u001b[0m` : text)
const bold = style('1')
const dim = style('2')

// A model's answer is shown as text: control sequences in it must not move the cursor.
const oneLine = text => stripVTControlCharacters(text).replace(/\s+/gu, ' ').trim()
const cut = (text, width) => (text.length > width ? `${text.slice(0, width - 1)}…` : text)
// Cuts the beginning: the end of an answer is the part being written, and has the result of a calculation.
const cutFront = (text, width) => (text.length > width ? `…${text.slice(1 - width)}` : text)

/** Opens the view. `line(row)` is the line of one answer: `add` appends a piece, `end` sets the whole answer. */
export function openView(questions) {
  const rows = questions.map(question => ({ question: oneLine(question), answer: '' }))
  const width = Math.max(...rows.map(({ question }) => question.length))
  const write = row => `${bold(row.question.padEnd(width))}  ${row.answer}`
  const live = isLive && startLive(rows, width)
  return {
    line: index => ({
      add: text => {
        rows[index].answer += text
        if (live) live.redraw()
      },
      end: text => {
        rows[index].answer = oneLine(text)
        if (live) live.redraw()
        else console.log(write(rows[index]))
      },
    }),
  }
}

function startLive(rows, width) {
  const columns = process.stdout.columns ?? 80
  const question = Math.min(width, Math.floor(columns / 2))
  const draw = ({ question: text, answer }) =>
    `\u001b[K${bold(cut(text, question).padEnd(question))}  ${cutFront(oneLine(answer), Math.max(8, columns - question - 3))}\n`
  const all = () => rows.map(draw).join('')
  process.stdout.write(all())
  return { redraw: () => process.stdout.write(`\u001b[${rows.length}A${all()}`) }
}

const COLUMNS = [
  { title: 'question', of: row => cut(oneLine(row.question), 32) },
  { title: 'answer', of: row => cutFront(oneLine(row.text), 40) },
  { title: 'first token ms', of: row => row.timings.ttftMs.toFixed(1), isNumber: true },
  { title: 'tokens', of: row => String(row.usage.outputTokens), isNumber: true },
  { title: 'tok/s', of: row => row.timings.tokensPerSecond.toFixed(0), isNumber: true },
  { title: 'served', of: row => row.served },
]

/** Prints one row per result. */
export function printTable(results) {
  const cells = [COLUMNS.map(({ title }) => title), ...results.map(row => COLUMNS.map(({ of }) => of(row)))]
  const widths = COLUMNS.map((_, column) => Math.max(...cells.map(row => row[column].length)))
  const align = (text, column) =>
    COLUMNS[column].isNumber ? text.padStart(widths[column]) : text.padEnd(widths[column])
  const [head, ...body] = cells.map(row => row.map(align).join('  ').trimEnd())
  console.log(`\n${dim(head)}\n${body.join('\n')}`)
}
