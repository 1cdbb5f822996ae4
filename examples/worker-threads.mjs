// One engine for all worker threads: the main thread has it, workers ask by message. An engine in each worker would load the
// weights once more. `serve` and `ask` can be copied as they are.
//
//   node examples/worker-threads.mjs
//
// A worker asks for one chunk at a time, so a worker that stops reading pauses its answer. Leaving the loop, an abort and the
// end of the worker end the work. Variables: MODEL (a model folder), SIMULATED (a simulated device instead of MLX).

import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { createEngine } from 'mlx-serving'

/** In the main thread: answers the questions of a worker. */
export function serve(engine, model, worker) {
  const asked = new Map()
  const onMessage = {
    start: ({ id, params }) => {
      const generation = engine.generate({ ...params, model })
      asked.set(id, { generation, chunks: generation[Symbol.asyncIterator]() })
    },
    next: async ({ id }) => {
      const { generation, chunks } = asked.get(id)
      try {
        const { done, value } = await chunks.next()
        if (!done) return worker.postMessage({ id, chunk: value })
        asked.delete(id)
        worker.postMessage({ id, result: await generation })
      } catch ({ name, message, code, retryAfterMs }) {
        asked.delete(id)
        worker.postMessage({ id, error: { name, message, code, retryAfterMs } })
      }
    },
    leave: ({ id }) => {
      asked.get(id)?.chunks.return()
      asked.delete(id)
    },
  }
  worker.on('message', message => onMessage[message.type]?.(message))
  worker.once('exit', () => {
    for (const id of asked.keys()) onMessage.leave({ id })
  })
}

let questions = 0

/** In a worker: the chunks of an answer. Returns its result. */
export async function* ask(params, signal) {
  signal?.throwIfAborted()
  const id = questions++
  const leave = () => parentPort.postMessage({ type: 'leave', id })
  let left
  const aborted = new Promise((_, reject) => {
    left = () => reject(signal.reason)
    signal?.addEventListener('abort', left, { once: true })
  })
  aborted.catch(() => {})
  let isOver = false
  parentPort.postMessage({ type: 'start', id, params })
  try {
    for (;;) {
      const reply = replyTo(id)
      parentPort.postMessage({ type: 'next', id })
      const { chunk, result, error } = await Promise.race([reply, aborted])
      isOver = chunk === undefined
      if (error) throw Object.assign(new Error(error.message), error)
      if (isOver) return result
      yield chunk
    }
  } finally {
    signal?.removeEventListener('abort', left)
    if (!isOver) leave()
  }
}

const waiting = new Map()

function replyTo(id) {
  if (waiting.size === 0) parentPort.on('message', receive)
  return new Promise(resolve => waiting.set(id, resolve))
}

function receive(reply) {
  waiting.get(reply.id)?.(reply)
  waiting.delete(reply.id)
  // A listener keeps the thread alive.
  if (waiting.size === 0) parentPort.off('message', receive)
}

async function main() {
  const { MODEL, SIMULATED } = process.env
  const engine = await createEngine({ backend: SIMULATED ? { simulated: SIMULATED } : 'mlx' })
  const model = await engine.loadModel(MODEL)
  const workers = ['What is 12 + 7?', 'What is the capital of France?'].map(question => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { question } })
    serve(engine, model, worker)
    return new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
  })
  await Promise.all(workers)
  await engine.shutdown()
}

async function work({ question }) {
  let text = ''
  for await (const chunk of ask({ messages: [{ role: 'user', content: question }] })) text += chunk.text
  console.log(`${question} ${text}`)
}

if (isMainThread) {
  if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
} else if (workerData?.question) await work(workerData)
