// Serves answers with node:http alone. docs/http.md describes requests, errors and the end.
//
//   node examples/http.mjs
//   curl -N localhost:3000/generate -d '{"messages": [{"role": "user", "content": "What is 12 + 7?"}], "stream": true}'

import { createServer } from 'node:http'
import { address, answer, ending, health, leaving, send } from './serving.mjs'

const LARGEST_BODY = 1_000_000

const server = createServer(async (request, response) => {
  const route = `${request.method} ${request.url}`
  if (route === 'GET /health') return send(health(), response)
  if (route !== 'POST /generate') return response.writeHead(404).end()
  const signal = leaving(response)
  const text = await textOf(request).catch(() => undefined)
  if (text === undefined) return response.writeHead(413, { connection: 'close' }).end()
  await send(await answer(parsed(text), signal), response)
})

/** The body of a request, if it is not too large. */
async function textOf(request) {
  let text = ''
  for await (const part of request.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
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

process.once('SIGTERM', ending(server))
server.listen(address, () => console.log(`http://${address.host}:${server.address().port}`))
