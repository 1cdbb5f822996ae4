// The load generator, in a process of its own, so that it does not share the event loop of a server. A job has the port of a
// server, the model, and prompts: one streaming completion for each of them, over connections that stay open.

import { Agent, request } from 'node:http'
import { serveJobs } from '../job.mjs'
import { askAll } from './streams.mjs'

const agent = new Agent({ keepAlive: true })
/** What events begin with; comments keep the connection alive. */
const EVENT = Buffer.from('data: ')

await serveJobs(async ({ port, model, prompts, numTokens }) => {
  const { totalMs, answers } = await askAll(prompts, ({ text }) => {
    const body = { model, prompt: text, max_tokens: numTokens, temperature: 0, ignore_eos: true, stream: true }
    return complete(port, JSON.stringify({ ...body, stream_options: { include_usage: true } }))
  })
  const wrong = answers.find(answer => answer.count !== numTokens)
  if (wrong) throw new Error(`a server gave ${wrong.count} tokens instead of ${numTokens}`)
  return { totalMs, firstMs: answers.map(answer => answer.firstMs) }
})
agent.destroy()

/** One completion: the time of its first event, and the number of tokens that the server reports in the last parts. */
function complete(port, body) {
  const begin = performance.now()
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const options = { host: '127.0.0.1', port, method: 'POST', path: '/v1/completions', headers, agent }
    const outgoing = request(options, response => {
      let firstMs
      let last = [Buffer.alloc(0), Buffer.alloc(0)]
      response.on('data', part => {
        if (firstMs === undefined && part.includes(EVENT)) firstMs = performance.now() - begin
        last = [last[1], part]
      })
      response.on('error', reject)
      response.on('end', () => {
        const count = Number(/"completion_tokens": ?(\d+)/.exec(Buffer.concat(last).toString())?.[1])
        resolve({ firstMs, count })
      })
    })
    outgoing.on('error', reject)
    outgoing.setNoDelay(true)
    outgoing.end(body)
  })
}
