// The side of node-llama-cpp: the same greedy tokens from the GGUF file, one sequence for each prompt in one context, on one
// thread. Its arguments are the folder in which node-llama-cpp is installed and the file; job.mjs has the protocol.

import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { serveJobs } from './job.mjs'

const [, , folder, modelPath] = process.argv
const THREADS = 1
const MAX_SEQUENCES = 32
const CONTEXT_TOKENS = 256

const { getLlama, LlamaLogLevel } = await import(
  pathToFileURL(createRequire(`${folder}/package.json`).resolve('node-llama-cpp')).href
)
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: THREADS, logLevel: LlamaLogLevel.error })
const model = await llama.loadModel({ modelPath })
const contexts = new Map()

/** A context for this number of sequences. Closes contexts of other sizes first. */
async function contextFor(sequences) {
  if (contexts.has(sequences)) return contexts.get(sequences)
  for (const [size, context] of contexts) {
    await context.dispose()
    contexts.delete(size)
  }
  const context = await model.createContext({ sequences, threads: THREADS, contextSize: CONTEXT_TOKENS })
  contexts.set(sequences, context)
  return context
}

async function read(context, tokens, numTokens, begin) {
  const sequence = context.getSequence()
  const answer = []
  let firstMs
  for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    firstMs ??= performance.now() - begin
    if (answer.push(token) === numTokens) break
  }
  sequence.dispose()
  return { firstMs, answer }
}

await serveJobs(async ({ prompts, numTokens }) => {
  const context = await contextFor(Math.min(prompts.length, MAX_SEQUENCES))
  const begin = performance.now()
  const rows = await Promise.all(prompts.map(({ tokens }) => read(context, tokens, numTokens, begin)))
  return {
    totalMs: performance.now() - begin,
    firstMs: rows.map(row => row.firstMs),
    answers: rows.map(row => row.answer),
  }
})
await llama.dispose()
