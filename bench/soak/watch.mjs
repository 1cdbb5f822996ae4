// What a soak watches of its process: memory, file descriptors and threads; unhandled rejections and process warnings.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

const FINALIZED_MS = 25
const STALL_SAMPLE_MS = 20
const STATUS = '/proc/self/status'

/** Calls `violated` with a sentence for each unhandled rejection and each process warning. */
export function watchProcess(violated) {
  process.on('unhandledRejection', error => violated(`an unhandled rejection: ${error?.message ?? error}`))
  process.on('warning', ({ name, message }) => violated(`a process warning: ${name}: ${message}`))
}

/**
 * Notes when the event loop was last behind by more than `ms`, on a busy machine for example. Meanwhile no stream is read, and
 * the engine may rightly end one as not read.
 */
export function watchStalls(ms) {
  const stalls = { lastAt: Number.NEGATIVE_INFINITY }
  let due = performance.now() + STALL_SAMPLE_MS
  setInterval(() => {
    const now = performance.now()
    if (now - due > ms) stalls.lastAt = now
    due = now + STALL_SAMPLE_MS
  }, STALL_SAMPLE_MS).unref()
  return stalls
}

/** The figures of the process after a garbage collection. A figure that the system does not tell is `undefined`. */
export async function measureProcess() {
  for (let round = 0; round < 3; round++) {
    globalThis.gc()
    // Finalizers of objects that the engine owns run in a later turn.
    await pause(FINALIZED_MS)
  }
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage()
  return { rss, heapUsed, external, arrayBuffers, descriptors: numDescriptors(), threads: numThreads() }
}

const numDescriptors = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : undefined)
const numThreads = () =>
  existsSync(STATUS) ? Number(/Threads:\s+(\d+)/.exec(readFileSync(STATUS, 'utf8'))[1]) : undefined
