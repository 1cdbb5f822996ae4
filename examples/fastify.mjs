// Serves answers with Fastify, which takes web responses as they are. docs/http.md describes requests, errors and the end.
//
//   node examples/fastify.mjs
//   curl -N localhost:3000/generate -H 'content-type: application/json' \
//     -d '{"messages": [{"role": "user", "content": "What is 12 + 7?"}], "stream": true}'

import Fastify from 'fastify'
import { address, answer, ending, health, leaving } from './serving.mjs'

const app = Fastify()
app.post('/generate', (request, reply) => answer(request.body, leaving(reply.raw)))
app.get('/health', async () => health())

const end = ending(app.server)
process.once('SIGTERM', async () => {
  await end()
  // Runs the `onClose` hooks of plugins.
  await app.close()
})
console.log(await app.listen(address))
