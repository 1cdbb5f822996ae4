// Side (b): the engine from JavaScript. Sends all prompts of a job at once, as text, and reads every answer as a stream. Other
// benchmarks run it with two arguments: the model folder, and the engine's options as JSON.

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

/** The engine's figures about its own work in this job. */
function since(before) {
  const { steps, engineMs, deviceIdleMs, longestDeviceIdleMs, batchLimit } = engine.stats().models[0]
  return {
    steps: steps - before.steps,
    engineMs: engineMs - before.engineMs,
    deviceIdleMs: deviceIdleMs - before.deviceIdleMs,
    // Over this job and all earlier ones.
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
