// Worker threads with engines of their own, which end while they generate: terminated, by `process.exit`, by an error, or when
// their work is done.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

const SCRIPT = new URL('./worker.mjs', import.meta.url)
const ENDS = ['terminated', 'exit', 'error', 'done']

/** Starts a worker, and ends it in one of the four ways. */
export async function endWorkers(soak, hour) {
  const how = ENDS[hour % ENDS.length]
  soak.began(`worker, ${how}`)
  const worker = new Worker(SCRIPT, { workerData: { kind: soak.kind, how } })
  const ended = once(worker, 'exit').catch(error => [error.message])
  // The error of a worker may overtake its message.
  await Promise.race([once(worker, 'message'), ended]).catch(() => {})
  if (how === 'terminated') await worker.terminate()
  const [code] = await ended
  const expected = { terminated: 1, exit: 7, error: 'the error of a worker', done: 0 }[how]
  if (code !== expected) soak.violated([`a worker (${how}) ended with ${code} in place of ${expected}`])
  soak.ended(`worker, ${how}`, 'ended')
}
