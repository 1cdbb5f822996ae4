// Checks lib/server/ against server.d.ts, and server.d.ts against the code of users. The compiler is the test: types.test.ts
// runs it.

import { createServer } from 'node:http'
import type { Engine } from '../index'
import type * as built from '../lib/server/index'
import type * as declared from '../server'
import { createHandler, SSE_HEADERS, type SseEvent, serve, sseStream, toNodeListener, writeSse } from '../server'

type Extends<A, B> = [A] extends [B] ? true : false
type Assert<T extends true> = T

export type BuiltIsDeclared = Assert<Extends<typeof built, typeof declared>>
export type DeclaredIsBuilt = Assert<Extends<typeof declared, typeof built>>

declare const engine: Engine
declare const named: AsyncIterable<{ event: string }>

export async function handles(origin?: string): Promise<void> {
  const keys = ['a', { key: 'b', priority: 'background' }] as const
  const handler = createHandler(engine, { keys, origins: origin === undefined ? undefined : [origin], maxTokens: 100 })
  createServer(toNodeListener(handler, { stallMs: 1000 }))
  const response: Response = await handler(new Request('http://localhost/v1/models'))
  new Response(sseStream(eventsOf(response), { heartbeatMs: 1000, onCancel: () => {} }), { headers: SSE_HEADERS })
  createServer((_, served) => void writeSse(served, eventsOf(response), { stallMs: 1000 }))
}

async function* eventsOf({ status }: Response): AsyncGenerator<SseEvent> {
  yield { data: { status }, event: 'status' }
}

export async function serves(): Promise<number> {
  await using server = await serve({ models: ['a', { id: 'b' }], engine: { preset: 'latency' }, signals: ['SIGTERM'] })
  await server.close({ drainMs: 1000 })
  await server.closed
  return server.engine.stats().running + server.url.length
}

export function isRejected(): void {
  // @ts-expect-error: a port is a number
  serve({ port: '8080' })
  // @ts-expect-error: an unknown option
  createHandler(engine, { key: 'a' })
  // @ts-expect-error: an event has data
  sseStream(named)
}
