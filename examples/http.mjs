// Sends an answer over HTTP as server-sent events. The body is made of bytes, the answer of chunks, so two transforms convert
// them. A client that disconnects ends the work: closing the response cancels the stream. Here the client is in this process.

import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createEngine } from 'mlx-serving'

const engine = await createEngine()
const model = await engine.loadModel()

/** The body of a response: one event for each chunk. Also what `new Response(body)` takes. */
function eventsOf(generation) {
  const events = new TransformStream({
    transform: ({ text }, controller) => controller.enqueue(`data: ${JSON.stringify({ text })}\n\n`),
  })
  return generation.toReadableStream().pipeThrough(events).pipeThrough(new TextEncoderStream())
}

const server = createServer(async (request, response) => {
  const content = new URL(request.url, 'http://localhost').searchParams.get('question')
  const generation = engine.generate({ model, messages: [{ role: 'user', content }] })
  response.setHeader('content-type', 'text/event-stream')
  await pipeline(Readable.fromWeb(eventsOf(generation)), response).catch(error => console.error(error.message))
})
await new Promise(resolve => server.listen(0, 'localhost', resolve))

const question = encodeURIComponent(process.argv[2] ?? 'What is 12 + 7?')
const response = await fetch(`http://localhost:${server.address().port}/?question=${question}`)
for await (const text of response.body.pipeThrough(new TextDecoderStream())) process.stdout.write(text)

server.close()
await engine.shutdown()
