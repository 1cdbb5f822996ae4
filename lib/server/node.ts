// A handler of web requests behind node:http: makes the web request, and writes the web response.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Handler, NodeListenerOptions } from '../../server'
import { BASE, directHandlers, incomingOf } from './incoming'
import { Outlet } from './outlet'
import { bounded, MAX_MS } from './settings'
import { takeFrames } from './sse'

export function toNodeListener(
  handler: Handler,
  options: NodeListenerOptions = {},
): (request: IncomingMessage, response: ServerResponse) => void {
  const stallMs = bounded(options.stallMs, 'stallMs', [1, MAX_MS])
  return (message, response) => {
    const outlet = new Outlet(response, stallMs)
    answer(handler, message, response)
      .then(answered => send(answered, message, response, outlet))
      // A handler that rejects, or gives no response that can be sent, has a defect. The client gets no details.
      .catch(() => fail(response))
  }
}

function fail(response: ServerResponse): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  response.writeHead(500, { connection: 'close' }).end()
}

async function answer(handler: Handler, message: IncomingMessage, response: ServerResponse): Promise<Response> {
  const left = new AbortController()
  const direct = directHandlers.get(handler)
  if (direct !== undefined && message.url?.startsWith('/')) {
    response.once('close', () => {
      // After its end nothing would listen.
      if (!response.writableFinished) left.abort()
    })
    return direct(incomingOf(message, left.signal))
  }
  // The request is kept until the response closes: without it, its signal could be collected and would not abort.
  let request: Request | undefined
  response.once('close', () => {
    left.abort()
    request = undefined
  })
  request = webRequest(message, left.signal)
  return request === undefined ? new Response(null, { status: 400 }) : handler(request)
}

/** The web request; `undefined` if no web request can have this method or target. */
function webRequest(message: IncomingMessage, signal: AbortSignal): Request | undefined {
  const { method = 'GET', url = '/' } = message
  if (!url.startsWith('/')) return undefined
  try {
    const hasBody = method !== 'GET' && method !== 'HEAD'
    const init = {
      method,
      headers: headersOf(message),
      signal,
      ...(hasBody && { body: bodyOf(message), duplex: 'half' }),
    }
    return new Request(`${BASE}${url}`, init as RequestInit)
  } catch {
    return undefined
  }
}

function headersOf({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers()
  for (let at = 0; at < rawHeaders.length; at += 2) headers.append(rawHeaders[at], rawHeaders[at + 1])
  return headers
}

/** The body as it arrives. Nothing is read before it is asked for. */
function bodyOf(message: IncomingMessage): ReadableStream<Uint8Array> {
  const parts: AsyncIterator<Uint8Array> = message.iterator({ destroyOnReturn: false })
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await parts.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      async cancel() {
        await parts.return?.()
      },
    },
    { highWaterMark: 0 },
  )
}

async function send(
  answered: Response,
  message: IncomingMessage,
  response: ServerResponse,
  outlet: Outlet,
): Promise<void> {
  const { status, headers, body } = answered
  if (response.destroyed) {
    await body?.cancel().catch(() => {})
    return
  }
  // The rest of a body that was refused is not read.
  const isRefused = !message.complete
  response.setHeaders(headers as never)
  if (isRefused) response.setHeader('connection', 'close')
  response.writeHead(status)
  if (body === null || message.method === 'HEAD') await outlet.end()
  else await pump(body, outlet)
  if (isRefused) message.socket.destroySoon()
}

async function pump(body: ReadableStream<Uint8Array>, outlet: Outlet): Promise<void> {
  const frames = takeFrames(body)
  if (frames !== undefined) return outlet.pump(frames)
  const reader = body.getReader()
  await outlet.pump({
    read: async () => (await reader.read()).value,
    leave: () => void reader.cancel().catch(() => {}),
  })
}
