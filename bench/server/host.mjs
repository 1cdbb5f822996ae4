// One engine, called in this process and over HTTP. A job without prompts gets the port of the server and the id of the
// model; a job with prompts asks the engine directly, and reads every answer as a stream. Arguments: the model folder, and a
// backend as JSON.

import { once } from 'node:events'
import { createServer } from 'node:http'
import mlxServing from '../../dist/index.js'
import server from '../../dist/server/index.js'
import { serveJobs } from '../job.mjs'
import { askAll, MOST_STREAMS } from './streams.mjs'

const off = { enabled: false }

const engine = await mlxServing.createEngine({
  backend: JSON.parse(process.argv[3]),
  // Every stream has a row, and no answer or prompt is shared, so that both ways do the same work.
  scheduler: { batchSize: MOST_STREAMS, autoTune: off },
  cache: { coalescing: off, dedup: off, promptCache: off, prefixCache: off },
})
const model = await engine.loadModel(process.argv[2])
const http = createServer(server.toNodeListener(server.createHandler(engine)))
http.listen(0, '127.0.0.1')
await once(http, 'listening')

await serveJobs(async ({ prompts, numTokens }) => {
  if (prompts === undefined) return { port: http.address().port, model: model.id }
  const { totalMs, answers } = await askAll(prompts, ({ text }) => read(text, numTokens))
  return { totalMs, firstMs: answers }
})
http.close()
http.closeAllConnections()
await engine.dispose()

async function read(prompt, numTokens) {
  const begin = performance.now()
  let firstMs
  let count = 0
  for await (const chunk of engine.generate({ model, temperature: 0, ignoreEos: true, maxTokens: numTokens, prompt })) {
    firstMs ??= performance.now() - begin
    count += chunk.tokens.length
  }
  if (count !== numTokens) throw new Error(`the engine gave ${count} tokens instead of ${numTokens}`)
  return firstMs
}
