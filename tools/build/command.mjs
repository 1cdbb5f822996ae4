// Starts other programs: quietly (their output is shown only if they fail), visibly, or line by line. Turns a missing
// program and a non-zero exit into a failure.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { Failure } from './failure.mjs'
import { root } from './repository.mjs'

/** Advice for a missing program. */
const SOURCES = {
  cargo: 'Install Rust 1.95 or newer: https://rustup.rs',
  npm: 'It comes with Node.js: https://nodejs.org',
  python3: 'Install Python 3 with pip: https://www.python.org',
  rustc: 'Install Rust 1.95 or newer: https://rustup.rs',
  rustup: 'Install Rust with it: https://rustup.rs',
}

/** Runs a program with its output on the terminal. */
export const show = (program, args, options) => start(program, args, { stdio: 'inherit', ...options })

/** Runs a program silently and resolves with its stdout. A failure contains all of its output. */
export async function quiet(program, args, options) {
  const written = { out: '', all: '' }
  const collect = child => {
    child.stdout.on('data', text => {
      written.out += text
      written.all += text
    })
    child.stderr.on('data', text => {
      written.all += text
    })
  }
  try {
    await start(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options }, collect)
  } catch (error) {
    if (error instanceof Failure) error.message = `${written.all.trim()}\n\n${error.message}`
    throw error
  }
  return written.out
}

/** Runs a program with stderr on the terminal and passes each line of its stdout to `take`. */
export function lines(program, args, take, options) {
  const read = child => createInterface({ input: child.stdout }).on('line', take)
  return start(program, args, { stdio: ['inherit', 'pipe', 'inherit'], ...options }, read)
}

function start(program, args, options, attach = () => {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, ...options })
    child.stdout?.setEncoding('utf8')
    child.stderr?.setEncoding('utf8')
    attach(child)
    child.on('error', error => reject(notStarted(program, error)))
    child.on('close', (code, signal) => {
      if (code === 0) resolve()
      else reject(new Failure(`${[program, ...args].join(' ')} ended with ${signal ?? `exit code ${code}`}.`))
    })
  })
}

function notStarted(program, error) {
  const advice = SOURCES[program] ?? ''
  return new Failure(error.code === 'ENOENT' ? `${program} was not found. ${advice}` : `${program}: ${error.message}`)
}
