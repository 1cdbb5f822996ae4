// An answer as the body of a response: it is a stream of bytes, and closing it ends the work. http-servers.test.ts
// tests servers.

import type { Generation } from 'mlx-serving'
import { expect, test } from 'vitest'
import { M3_MAX, simulated, until, withMlx } from './support.js'

function bodyOf(generation: Generation): ReadableStream<Uint8Array> {
  const texts = new TransformStream({ transform: ({ text }, controller) => controller.enqueue(text) })
  return generation.toReadableStream().pipeThrough(texts).pipeThrough(new TextEncoderStream())
}

test('a response has the text of the answer', async () => {
  const { engine, model } = await withMlx()
  const generation = engine.generate({ model, messages: [{ role: 'user', content: 'Say it: größe 日本 🙂' }] })
  expect(await new Response(bodyOf(generation)).text()).toBe((await generation).text)
})

test('a client that disconnects ends the work', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { model, prompt: 'Tell me everything.', maxTokens: 1_000, ignoreEos: true }
  const { body } = new Response(bodyOf(engine.generate(params)))
  const reader = body?.getReader()
  await reader?.read()
  await reader?.cancel()
  await until(() => engine.stats().cancelled === 1)
})
