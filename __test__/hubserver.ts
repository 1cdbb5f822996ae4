// A hub on this machine: it serves the demo model as the Hugging Face hub serves a model, with its redirect to another origin
// for large files. Tests put faults in its way.

import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { onTestFinished, vi } from 'vitest'
import { ROOT } from './support.js'

export const NAME = 'somebody/tiny-chat'
export const COMMIT = '0123456789abcdef0123456789abcdef01234567'
export const WEIGHTS = 'model.safetensors'

/** Answers a request in place of the hub, if it returns `true`. */
export type Fault = (request: IncomingMessage, response: ServerResponse, content: Buffer) => boolean

export class HubServer {
  /** The cache of this test. */
  readonly cacheFolder: string
  /** The folder of the model in the cache. */
  readonly storage: string
  /** Files of the model, by name. */
  readonly files: Map<string, Buffer>
  /** Requests, as `path range`. */
  readonly requests: string[] = []
  /** Tokens that came with requests. */
  readonly tokens: (string | undefined)[] = []
  /** Tokens that the other origin got. */
  readonly leakedTokens: string[] = []
  /** Asked before each answer with a file. */
  fault: Fault = () => false
  /** Asked before each answer with a listing. */
  apiFault: Fault = () => false

  constructor(cacheFolder: string, files: Map<string, Buffer>) {
    this.cacheFolder = cacheFolder
    this.storage = path.join(cacheFolder, 'models--somebody--tiny-chat')
    this.files = files
  }

  /** Changes the listing before it is sent. */
  list: (listing: Listing) => unknown = listing => listing

  /** Requests for a file. */
  requestsOf(name: string): string[] {
    return this.requests.filter(request => request.includes(`/${name} `))
  }
}

interface Listing {
  sha: string
  siblings: Record<string, unknown>[]
}

/** Starts a hub for one test, and points the variables of the Hugging Face tools to it. */
export async function hub(): Promise<HubServer> {
  const cacheFolder = await mkdtemp(path.join(tmpdir(), 'mlx-serving-hub-'))
  onTestFinished(() => rm(cacheFolder, { recursive: true, force: true }))
  const server = new HubServer(cacheFolder, await demoFiles())
  const far = await listen((request, response) => {
    const { authorization } = request.headers
    if (authorization !== undefined) server.leakedTokens.push(authorization)
    serve(server, request, response)
  })
  const near = await listen((request, response) => answer(server, far, request, response))
  const environment = { HF_ENDPOINT: near, HF_HUB_CACHE: cacheFolder, HF_HUB_OFFLINE: '', HF_TOKEN: '' }
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value)
  vi.stubEnv('HF_TOKEN_PATH', path.join(cacheFolder, 'no-token'))
  onTestFinished(() => {
    vi.unstubAllEnvs()
  })
  return server
}

async function demoFiles(): Promise<Map<string, Buffer>> {
  const folder = path.join(ROOT, 'models', 'demo')
  const names = await readdir(folder)
  const files = await Promise.all(names.map(async name => [name, await readFile(path.join(folder, name))] as const))
  return new Map([...files, ['pytorch_model.bin', Buffer.from('another format')]])
}

async function listen(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server: Server = createServer(handle)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function answer(server: HubServer, far: string, request: IncomingMessage, response: ServerResponse): void {
  server.tokens.push(request.headers.authorization)
  const url = new URL(request.url ?? '/', far)
  if (url.pathname.startsWith('/api/')) answerListing(server, request, response)
  else if (url.pathname.endsWith('.safetensors')) response.writeHead(302, { location: far + url.pathname }).end()
  else serve(server, request, response)
}

function answerListing(server: HubServer, request: IncomingMessage, response: ServerResponse): void {
  server.requests.push(`${request.url} `)
  if (server.apiFault(request, response, Buffer.alloc(0))) return
  const siblings = [...server.files].map(([rfilename, content]) => ({
    rfilename,
    size: content.length,
    ...hashOf(rfilename, content),
  }))
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(server.list({ sha: COMMIT, siblings })))
}

/** Large files have a SHA-256, all have the hash that git gives them. */
function hashOf(name: string, content: Buffer): Record<string, unknown> {
  const blobId = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex')
  const sha256 = createHash('sha256').update(content).digest('hex')
  return name.endsWith('.safetensors') ? { blobId, lfs: { sha256, size: content.length } } : { blobId }
}

/** Sends a file, or the rest of it that the request asks for. */
function serve(server: HubServer, request: IncomingMessage, response: ServerResponse): void {
  const { pathname } = new URL(request.url ?? '/', 'http://hub')
  const { range } = request.headers
  server.requests.push(`${pathname} ${range ?? ''}`)
  const content = server.files.get(pathname.split(`/resolve/${COMMIT}/`)[1] ?? '')
  if (content === undefined) response.writeHead(404).end()
  else if (!server.fault(request, response, content)) sendRest(response, content, range)
}

function sendRest(response: ServerResponse, content: Buffer, range: string | undefined): void {
  const start = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)
  const length = content.length - start
  if (range === undefined) response.writeHead(200, { 'content-length': length })
  else {
    const contentRange = `bytes ${start}-${content.length - 1}/${content.length}`
    response.writeHead(206, { 'content-length': length, 'content-range': contentRange })
  }
  response.end(content.subarray(start))
}
