// The example of a route of Next.js, called as Next.js calls it, and read as `useChat` reads it.

import { DefaultChatTransport, readUIMessageStream, type UIMessage } from 'ai'
import type { MlxProvider } from 'mlx-serving/ai-sdk'
import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { POST } from '../../examples/next/route.mjs'
import { until } from '../support.js'

/** A device that takes about 50 ms for a token: the answer still runs when its client leaves. */
const SLOW = 'm3-max/gemma-2-27b-4bit'

// A chunk has at most three tokens, so an answer has several chunks. The engine starts with the first request.
vi.stubEnv('MLX_SERVING_BUFFER_TOKENS', '3')

const kept = globalThis as unknown as { mlx: MlxProvider | undefined }
const { mlx } = kept
afterAll(() => mlx?.[Symbol.asyncDispose]())

const said = (text: string): UIMessage[] => [{ id: '1', role: 'user', parts: [{ type: 'text', text }] }]
const transport = new DefaultChatTransport({
  api: 'http://localhost/api/chat',
  fetch: async (address, init) => POST(new Request(address as string, init as RequestInit)),
})

function send(text: string, abortSignal?: AbortSignal) {
  const asked = { chatId: '1', messageId: undefined, trigger: 'submit-message' as const, abortSignal }
  return transport.sendMessages({ ...asked, messages: said(text) })
}

test('useChat gets the answer in pieces', async () => {
  const texts: string[] = []
  for await (const { parts } of readUIMessageStream({ stream: await send('What is 20 + 3?') })) {
    texts.push(parts.map(part => (part.type === 'text' ? part.text : '')).join(''))
  }
  expect(texts.at(-1)).toContain('23')
  expect(new Set(texts).size).toBeGreaterThan(2)
})

test('a body that is not of useChat is refused', async () => {
  for (const body of ['', '{', '{}', '{"messages": []}', '{"messages": [{"role": "user"}]}']) {
    const response = await POST(new Request('http://localhost/api/chat', { method: 'POST', body }))
    expect([body, response.status]).toEqual([body, 400])
  }
})

test('an error is logged, and the client gets a message without details', async () => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {})
  const chunks = []
  for await (const chunk of (await send('x '.repeat(4000))) as unknown as AsyncIterable<object>) chunks.push(chunk)
  expect(chunks).toContainEqual({ type: 'error', errorText: 'The server cannot answer this request.' })
  expect(log.mock.calls[0][0]).toMatchObject({ code: 'ContextLengthExceeded' })
  log.mockRestore()
})

test('a module that is loaded again keeps its engine', async () => {
  vi.resetModules()
  const again = await import('../../examples/next/route.mjs')
  expect(again.POST).not.toBe(POST)
  expect(kept.mlx).toBe(mlx)
})

test('a client that leaves cancels its request', async () => {
  vi.stubEnv('SIMULATED', SLOW)
  vi.resetModules()
  kept.mlx = undefined
  const slow = await import('../../examples/next/route.mjs')
  const engine = await (kept.mlx as unknown as MlxProvider).engine()
  onTestFinished(() => engine.dispose())
  const controller = new AbortController()
  const body = JSON.stringify({ messages: said('Tell me everything.') })
  const { signal } = controller
  const response = await slow.POST(new Request('http://localhost/api/chat', { method: 'POST', body, signal }))
  const text = response.text().catch(() => '')
  await until(() => engine.stats().running === 1)
  controller.abort()
  await text
  await until(() => engine.stats().running === 0)
  expect(engine.stats()).toMatchObject({ cancelled: 1, completed: 0 })
})
