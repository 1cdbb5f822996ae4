// Runs a soak in a process of its own, so that a crash or a hang of it is a result. Shows its progress.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { showBar } from './bar.mjs'

const CHILD = fileURLToPath(new URL('./child.mjs', import.meta.url))
/**
 * Less noise in the resident memory, so that a small leak shows: a young generation of constant size, one arena of glibc's
 * allocator instead of one for each thread, and large blocks that are given back when they are freed.
 */
const FLAGS = ['--expose-gc', '--max-semi-space-size=4']
const VARIABLES = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '65536', MALLOC_MMAP_THRESHOLD_: '65536' }
/** The end of a process that reports nothing for so long. An hour takes seconds. */
const SILENT_MS = 300_000
const STDERR_BYTES = 4000

/**
 * Runs one plan. The record has a sample for each hour, the violations, the endings by way, and how the process ended:
 * `'ended'`, `'hung'`, or its exit code or signal.
 */
export function runSoak(plan, show = showBar) {
  const record = {
    plan,
    samples: [],
    violations: [],
    numViolations: 0,
    endings: {},
    requests: 0,
    exit: undefined,
    stderr: '',
  }
  const env = { ...process.env, ...VARIABLES, RUST_BACKTRACE: '0' }
  const child = spawn(process.execPath, [...FLAGS, CHILD, JSON.stringify(plan)], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let isHung = false
  const hang = () => {
    isHung = true
    child.kill('SIGKILL')
  }
  let watchdog = setTimeout(hang, SILENT_MS)
  createInterface({ input: child.stdout }).on('line', line => {
    clearTimeout(watchdog)
    watchdog = setTimeout(hang, SILENT_MS)
    take(record, JSON.parse(line))
    show(record)
  })
  child.stderr.setEncoding('utf8').on('data', text => {
    record.stderr = (record.stderr + text).slice(-STDERR_BYTES)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(watchdog)
      record.exit = isHung ? 'hung' : code === 0 ? 'ended' : (signal ?? `exit code ${code}`)
      show(record)
      resolve(record)
    })
  })
}

function take(record, line) {
  if (line.violation !== undefined) {
    record.violations.push(line.violation)
    record.numViolations++
  } else if (line.endings !== undefined) {
    Object.assign(record, line)
  } else {
    record.samples.push(line)
  }
}
