// Serves answers with Hono, which takes web responses as they are. docs/http.md describes requests, errors and the end.
//
//   node examples/hono.mjs
//   curl -N localhost:3000/generate -d '{"messages": [{"role": "user", "content": "What is 12 + 7?"}], "stream": true}'

import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { address, answer, ending, health } from './serving.mjs'

const app = new Hono()
app.use(bodyLimit({ maxSize: 1_000_000 }))
app.post('/generate', async ({ req }) => answer(await req.json().catch(() => undefined), req.raw.signal))
app.get('/health', () => health())

const server = serve({ fetch: app.fetch, hostname: address.host, port: address.port }, ({ port }) =>
  console.log(`http://${address.host}:${port}`),
)
process.once('SIGTERM', ending(server))
