// Serves answers with Express. docs/http.md describes requests, errors and the end.
//
//   node examples/express.mjs
//   curl -N localhost:3000/generate -H 'content-type: application/json' \
//     -d '{"messages": [{"role": "user", "content": "What is 12 + 7?"}], "stream": true}'

import express from 'express'
import { address, answer, ending, health, leaving, send } from './serving.mjs'

const app = express()
app.use(express.json({ limit: '1mb' }))
app.post('/generate', async (request, response) => send(await answer(request.body, leaving(response)), response))
app.get('/health', (_, response) => send(health(), response))
// A body that is not JSON, or too large. Without this Express answers with HTML.
app.use(({ status = 500, message }, _request, response, _next) => {
  response.status(status).json({ error: { code: 'InvalidParams', message } })
})

const server = app.listen(address.port, address.host, () =>
  console.log(`http://${address.host}:${server.address().port}`),
)
process.once('SIGTERM', ending(server))
