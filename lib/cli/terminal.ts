// Writing to stdout and stderr: colour only where a terminal shows it, text of models and hubs without control characters,
// and a quiet end when the reader of a pipe has left.

import { once } from 'node:events'
import type { WriteStream } from 'node:tty'

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan'

/** The numbers that switch a style on and off. */
const STYLES: Record<Style, readonly [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
}

let isQuiet = false
let isColourless = false

/** Switches colours off, whatever variables say. */
export function beColourless(): void {
  isColourless = true
}

/** Switches progress and notes off. */
export function beQuiet(): void {
  isQuiet = true
}

/** Whether progress is shown: a person reads stderr. */
export function isWatched(): boolean {
  return process.stderr.isTTY === true && !isQuiet
}

/** A text in a style, where the stream is a terminal with colours. Node reads `NO_COLOR`, `FORCE_COLOR` and `TERM`. */
export function paint(style: Style, text: string, stream: WriteStream = process.stdout): string {
  if (isColourless || stream.isTTY !== true || !stream.hasColors()) return text
  const [on, off] = STYLES[style]
  return `\u001b[${on}m${text}\u001b[${off}m`
}

/**
 * Text for a terminal, without the control characters that could change it: a model or a hub may send any text. Line breaks
 * and tabs stay.
 */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to remove
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '')
}

/** Text of a model for stdout: unchanged in a pipe, printable on a terminal. */
export function forStdout(text: string): string {
  return process.stdout.isTTY === true ? printable(text) : text
}

/** Writes to stdout, and waits while a pipe is full. */
export async function print(text: string): Promise<void> {
  if (!process.stdout.write(text) && !process.stdout.destroyed) await once(process.stdout, 'drain')
}

/** Writes one line to stdout. */
export function printLine(text = ''): Promise<void> {
  return print(`${text}\n`)
}

/** Writes a value as JSON, for programs. */
export function printJson(value: unknown): Promise<void> {
  return printLine(forStdout(JSON.stringify(value, null, 2)))
}

/** A note for a person, on stderr. */
export function note(text: string): void {
  if (!isQuiet) process.stderr.write(`${text}\n`)
}

/** Ends the process quietly when the reader of stdout has left, as `| head` does. */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE' || error.code === 'EIO') process.exit(0)
      throw error
    })
  }
}
