// A route handler of Next.js: app/api/chat/route.js. It streams answers to `useChat` of the AI SDK. docs/ai-sdk.md has the two
// settings that Next.js needs. The function takes and returns what the web standard defines, so it fits other frameworks as well.
//
// Variables: MODEL (a model folder, or a name of the Hugging Face hub), SIMULATED (a simulated device instead of MLX).

import { APICallError, convertToModelMessages, RetryError, safeValidateUIMessages, streamText } from 'ai'
import { createMlx } from 'mlx-serving/ai-sdk'

const { MODEL, SIMULATED } = process.env

// In development Next.js loads this module again after each change. The engine and its models stay.
globalThis.mlx ??= createMlx({
  engineOptions: {
    ...(SIMULATED && { backend: { simulated: SIMULATED } }),
    scheduler: { maxPending: 64, maxWaitMs: 10_000 },
  },
})

/** @param {Request} request */
export async function POST(request) {
  const body = await request.json().catch(() => undefined)
  const checked = await safeValidateUIMessages({ messages: body?.messages })
  if (!checked.success) return Response.json({ error: 'the body needs `messages` of useChat' }, { status: 400 })
  const result = streamText({
    model: globalThis.mlx(MODEL),
    messages: await convertToModelMessages(checked.data),
    // A client that leaves ends the work.
    abortSignal: request.signal,
    providerOptions: { mlx: { timeoutMs: 120_000 } },
    onError: ({ error }) => console.error(error),
  })
  return result.toUIMessageStreamResponse({ onError: messageOf })
}

/** What a client may know of an error. The rest is in the log. */
function messageOf(error) {
  const last = RetryError.isInstance(error) ? error.lastError : error
  const isBusy = APICallError.isInstance(last) && last.statusCode === 429
  return isBusy ? 'The server is busy. Try again in a moment.' : 'The server cannot answer this request.'
}
