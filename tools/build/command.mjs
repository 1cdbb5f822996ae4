// Starts other programs: quietly (output shown only if they fail), visibly, or with their lines read on the way.
// Owns what a missing program and a non-zero exit mean; callers own the arguments.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { Failure } from './failure.mjs'
import { root } from './repository.mjs'

/** What to tell someone who lacks a program. */
const SOURCES = {
  cargo: 'Install Rust 1.95 or newer: https://rustup.rs',
  npm: 'It comes with Node.js: https://nodejs.org',
  python3: 'Install Python 3 with pip: https://www.python.org',
  rustc: 'Install Rust 1.95 or newer: https://rustup.rs',
  rustup: 'Install Rust with it: https://rustup.rs',
}

/** Runs a program with its output on the terminal. */
export const show = (program, args, options) => start(program, args, { stdio: 'inherit', ...options })

/** Runs a program silently; what it wrote becomes part of the failure, if it fails. Resolves with its stdout. */
export async function quiet(program, args, options) {
  const said = { out: '', all: '' }
  const collect = child => {
    child.stdout.on('data', text => {
      said.out += text
      said.all += text
    })
    child.stderr.on('data', text => {
      said.all += text
    })
  }
  try {
    await start(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options }, collect)
  } catch (error) {
    if (error instanceof Failure) error.message = `${said.all.trim()}\n\n${error.message}`
    throw error
  }
  return said.out
}

/** Runs a program with stderr on the terminal and hands each line of its stdout to `take`. */
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
