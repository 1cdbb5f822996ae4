// Serves the live page on loopback, on a port of its own: it needs no API key, and clients of the API cannot reach it.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Engine } from '../../index'
import { PAGE } from './dashboardpage'
import { SCRIPT } from './dashboardscript'
import { STYLE } from './dashboardstyle'
import { Monitor } from './monitor'

const HOSTS = new Set(['localhost', '127.0.0.1'])

const hashOf = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

const HEADERS = {
  // Only the style and the script of the page run, and it asks this server only.
  'content-security-policy': `default-src 'none'; style-src ${hashOf(STYLE)}; script-src ${hashOf(SCRIPT)}; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'`,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
}

export interface Dashboard {
  readonly url: string
  /** The engine has loaded its models: the page shows its figures. */
  show(engine: Engine): void
  close(): void
}

/** Starts the page, before there is an engine: a port that is taken is found out before models are loaded. */
export async function openDashboard(port: number): Promise<Dashboard> {
  let monitor: Monitor | undefined
  const server = createServer((request, response) => answer(monitor, request, response))
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const close = () => {
    server.close()
    server.closeAllConnections()
  }
  const show = (engine: Engine) => {
    monitor = new Monitor(engine)
  }
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, show, close }
}

function answer(
  monitor: Monitor | undefined,
  { method, url, headers }: IncomingMessage,
  response: ServerResponse,
): void {
  const send = (status: number, type: string, body: string) =>
    response.writeHead(status, { ...HEADERS, 'content-type': type }).end(body)
  const host = (headers.host ?? '').replace(/:\d+$/, '')
  // Against DNS rebinding: another site can let its own name resolve to this address.
  if (!HOSTS.has(host)) send(403, 'text/plain', 'this host name is not allowed\n')
  else if (method !== 'GET' && method !== 'HEAD') send(405, 'text/plain', 'GET only\n')
  else if (url === '/') send(200, 'text/html; charset=utf-8', PAGE)
  else if (url === '/stats' && monitor === undefined) send(503, 'text/plain', 'models are being loaded\n')
  else if (url === '/stats') send(200, 'application/json', JSON.stringify(monitor?.snapshot()))
  else send(404, 'text/plain', 'there is no such page\n')
}
