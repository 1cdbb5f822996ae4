// Side (b): the full way from JavaScript. Prompts go in as text, all at once, and every answer is read as a stream.
// Run by overhead.mjs and batching.mjs with the model folder as its argument, and the engine's options as JSON after it.

import mlxServing from '../dist/index.js'
import { serveJobs } from './job.mjs'

const engine = await mlxServing.createEngine(JSON.parse(process.argv[3] ?? '{}'))
const model = await engine.loadModel(process.argv[2])

await serveJobs(async ({ prompts, numTokens, params }) => {
  const before = engine.stats().models[0]
  const begin = performance.now()
  const rows = await Promise.all(prompts.map(({ text }) => read(text, { ...params, maxTokens: numTokens }, begin)))
  return {
    totalMs: performance.now() - begin,
    firstMs: rows.map(row => row.firstMs),
    answers: rows.map(row => row.tokens),
    scheduling: since(before),
  }
})
await engine.dispose()

/** What the engine says of its own work in this job. */
function since(before) {
  const { steps, engineMs, deviceIdleMs, longestDeviceIdleMs, batchLimit } = engine.stats().models[0]
  return {
    steps: steps - before.steps,
    engineMs: engineMs - before.engineMs,
    deviceIdleMs: deviceIdleMs - before.deviceIdleMs,
    // Of this job and those before it.
    longestDeviceIdleMs,
    batchLimit,
  }
}

async function read(prompt, params, begin) {
  const tokens = []
  let firstMs
  for await (const chunk of engine.generate({ model, temperature: 0, cache: 'off', ...params, prompt })) {
    firstMs ??= performance.now() - begin
    tokens.push(...chunk.tokens)
  }
  return { firstMs, tokens }
}
