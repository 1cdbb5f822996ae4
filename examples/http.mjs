// Serves answers with node:http alone. docs/http.md describes requests, errors and the end.
//
//   node examples/http.mjs
//   curl -N localhost:3000/generate -d '{"messages": [{"role": "user", "content": "What is 12 + 7?"}], "stream": true}'

import { createServer } from 'node:http'
import { toNodeListener } from 'mlx-serving/server'
import { address, answer, ending, health } from './serving.mjs'

const LARGEST_BODY = 1_000_000

/** Answers a web request. Its signal aborts when the client leaves. */
async function handle(request) {
  const route = `${request.method} ${new URL(request.url).pathname}`
  if (route === 'GET /health') return health()
  if (route !== 'POST /generate') return new Response(null, { status: 404 })
  const text = await textOf(request)
  return text === undefined ? new Response(null, { status: 413 }) : answer(parsed(text), request.signal)
}

/** The body of a request, if it is not too large. */
async function textOf(request) {
  let text = ''
  for await (const part of request.body.pipeThrough(new TextDecoderStream())) {
    text += part
    if (text.length > LARGEST_BODY) return undefined
  }
  return text
}

function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const server = createServer(toNodeListener(handle))
process.once('SIGTERM', ending(server))
server.listen(address, () => console.log(`http://${address.host}:${server.address().port}`))
