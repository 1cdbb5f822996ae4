// A server of node:http that answers at once with one event for each requested token, and does nothing else. It shows the time
// that the connection, Node.js and the client take. A job gets its port.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { json } from 'node:stream/consumers'
import { serveJobs } from '../job.mjs'

const EVENT = { id: 'cmpl-1', object: 'text_completion', choices: [{ index: 0, text: ' word', finish_reason: null }] }

const http = createServer(async (request, response) => {
  const { max_tokens } = await json(request)
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (let n = 0; n < max_tokens; n++) {
    response.write(`data: ${JSON.stringify(EVENT)}\n\n`)
    // One write for each token, as an engine has it.
    await new Promise(setImmediate)
  }
  response.end(`data: ${JSON.stringify({ usage: { completion_tokens: max_tokens } })}\n\ndata: [DONE]\n\n`)
})
http.listen(0, '127.0.0.1')
await once(http, 'listening')
await serveJobs(async () => ({ port: http.address().port }))
http.close()
http.closeAllConnections()
