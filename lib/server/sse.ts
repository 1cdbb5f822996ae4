// Server-sent events for web responses and for node:http: how an event is written. It knows nothing of engines; a source is any
// async iterable of events.

import type { ServerResponse } from 'node:http'
import type { SseEvent, SseOptions } from '../../server'
import { invalid } from '../errors'
import { Frames, type Texts } from './frames'
import { Outlet } from './outlet'
import { bounded, MAX_MS } from './settings'

export const SSE_HEADERS: Readonly<Record<string, string>> = Object.freeze({
  'content-type': 'text/event-stream; charset=utf-8',
  // Neither a compressing middleware nor nginx may hold events back.
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
})

const DEFAULT_HEARTBEAT_MS = 15_000

export function sseStream(source: AsyncIterable<SseEvent>, options: SseOptions = {}): ReadableStream<Uint8Array> {
  return streamOf(framesOf(source, options))
}

export async function writeSse(
  response: ServerResponse,
  source: AsyncIterable<SseEvent>,
  options: SseOptions & { stallMs?: number | undefined } = {},
): Promise<void> {
  const { stallMs, ...rest } = options
  const frames = framesOf(source, rest)
  if (!response.headersSent) response.writeHead(200, SSE_HEADERS).flushHeaders()
  await new Outlet(response, stallMs).pump(frames)
}

/** The frames of each stream that has not been read. The listener of node:http writes them directly, without the stream. */
const framesOfStreams = new WeakMap<ReadableStream<Uint8Array>, Frames>()

/** Frames as the body of a web response. */
export function streamOf(frames: Frames): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        framesOfStreams.delete(stream)
        const frame = await frames.read()
        if (frame === undefined) controller.close()
        else controller.enqueue(encoder.encode(frame))
      },
      cancel: () => frames.leave(),
    },
    // Nothing is read ahead of the client.
    { highWaterMark: 0 },
  )
  framesOfStreams.set(stream, frames)
  return stream
}

/** Takes the frames of a body out of its stream, which is not read any more. */
export function takeFrames(body: ReadableStream<Uint8Array>): Frames | undefined {
  const frames = body.locked ? undefined : framesOfStreams.get(body)
  framesOfStreams.delete(body)
  return frames
}

function framesOf(source: AsyncIterable<SseEvent>, options: SseOptions): Frames {
  const { onCancel, onError } = options
  const events = source[Symbol.asyncIterator]()
  const texts: Texts = {
    async next() {
      const { done, value } = await events.next()
      return done ? { done, value } : { done: false, value: format(value) }
    },
    async return() {
      await events.return?.()
      return { done: true, value: undefined }
    },
  }
  return new Frames(texts, {
    heartbeatMs: bounded(options.heartbeatMs, 'heartbeatMs', [1, MAX_MS]) ?? DEFAULT_HEARTBEAT_MS,
    onCancel,
    onError: onError && (error => format(onError(error))),
  })
}

/** An event as it is sent. */
export function format({ data, event, id }: SseEvent): string {
  return `${field('event', event)}${field('id', id)}${lines(data)}\n`
}

function lines(data: unknown): string {
  // JSON has no line breaks.
  if (typeof data !== 'string') return `data: ${JSON.stringify(data) ?? 'null'}\n`
  return data
    .split(/\r\n|[\r\n]/)
    .map(line => `data: ${line}\n`)
    .join('')
}

function field(name: string, value: string | undefined): string {
  if (value === undefined) return ''
  if (/[\r\n\0]/.test(value)) throw invalid(name, 'must be one line')
  return `${name}: ${value}\n`
}
