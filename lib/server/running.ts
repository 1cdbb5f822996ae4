// Runs a request on the engine: makes it fit the context and the chat template, and waits for the first chunk of a stream, so
// that an error before it still has its status.

import type { ChunkIterator, GenerateChunk, GenerateParams, GenerateResult, Generation, ModelHandle } from '../../index'
import type { SseEvent } from '../../server'
import { MlxServingError } from '../errors'
import { clearTimeout, setTimeout } from '../timers'
import { withRoom } from './counting'
import type { Exchange } from './exchange'
import { Frames, type Texts } from './frames'
import { type Piece, Pieces } from './pieces'
import { type Problem, problemOf } from './problem'
import { MAX_MS } from './settings'
import { format, SSE_HEADERS, streamOf } from './sse'

/** A request of an API, ready for the engine. */
export interface Job {
  /** The id of the model, which may not be loaded. */
  readonly model: string
  readonly params: GenerateParams
  /** Variables that are left out if the chat template does not read them. */
  readonly optionalVariables?: readonly string[]
}

export function wholeAnswer(exchange: Exchange, job: Job): Promise<GenerateResult> {
  return fitting(exchange, job, async generation => generation)
}

/** Makes the events of an API, in the order in which they are sent. */
export interface EventWriter {
  piece(piece: Piece): Iterable<SseEvent>
  /** The answer is complete, or all answers are. */
  end(result: GenerateResult): Iterable<SseEvent>
}

/** The events of an answer, and what an error in it looks like. */
export interface Streaming {
  /** `inputTokens`: the tokens of the prompt. */
  writer(inputTokens: number): EventWriter
  failed(problem: Problem): Iterable<SseEvent>
}

/** How events are written, and under which headers. Only server-sent events have comments, which keep a connection alive. */
export interface Wire {
  text(event: SseEvent): string
  readonly headers: Readonly<Record<string, string>>
  readonly hasComments: boolean
}

const EVENTS: Wire = { text: format, headers: SSE_HEADERS, hasComments: true }

/** A line of JSON for each event. */
export const LINES: Wire = {
  text: ({ data }) => `${JSON.stringify(data)}\n`,
  headers: { ...SSE_HEADERS, 'content-type': 'application/x-ndjson' },
  hasComments: false,
}

/**
 * Answers with a stream of events. Its headers are sent with the first chunk, or once a heartbeat is due, also while the model
 * is loaded.
 */
export async function streamed(
  exchange: Exchange,
  job: Job,
  { writer, failed }: Streaming,
  wire: Wire = EVENTS,
): Promise<Response> {
  const { heartbeatMs, onError } = exchange.site.settings
  const starting = begin(exchange, job)
  await settledWithin(starting, heartbeatMs)
  const frames = new Frames(new AnswerTexts(starting, writer, wire), {
    heartbeatMs: wire.hasComments ? heartbeatMs : MAX_MS,
    onCancel: () => exchange.left.abort(),
    onError(error) {
      const problem = problemOf(error)
      if (problem.isInternal) onError(error)
      return textOf(failed(problem), wire)
    },
  })
  return new Response(streamOf(frames), { headers: wire.headers })
}

/** A stream whose first chunk is there. */
interface Stream {
  readonly first: IteratorResult<GenerateChunk, void>
  readonly chunks: ChunkIterator
  readonly result: PromiseLike<GenerateResult>
  readonly inputTokens: number
}

function begin(exchange: Exchange, job: Job): Promise<Stream> {
  let inputTokens = 0
  return fitting(
    exchange,
    job,
    async generation => {
      const chunks = generation[Symbol.asyncIterator]()
      return { first: await chunks.next(), chunks, result: generation, inputTokens }
    },
    totalTokens => {
      inputTokens = totalTokens
    },
  )
}

function textOf(events: Iterable<SseEvent>, wire: Wire): string {
  let text = ''
  for (const event of events) text += wire.text(event)
  return text
}

/** The events of an answer as texts: one text for all events of a chunk. */
class AnswerTexts implements Texts {
  readonly #starting: Promise<Stream>
  readonly #writerOf: Streaming['writer']
  readonly #wire: Wire
  readonly #pieces = new Pieces()
  #stream: Stream | undefined
  #writer: EventWriter | undefined
  #hasEnded = false

  constructor(starting: Promise<Stream>, writerOf: Streaming['writer'], wire: Wire) {
    this.#starting = starting
    this.#writerOf = writerOf
    this.#wire = wire
  }

  async next(): Promise<IteratorResult<string, undefined>> {
    while (!this.#hasEnded) {
      const text = textOf(await this.#events(), this.#wire)
      if (text !== '') return { done: false, value: text }
    }
    return { done: true, value: undefined }
  }

  async return(): Promise<IteratorResult<string, undefined>> {
    this.#hasEnded = true
    await this.#stream?.chunks.return?.()
    return { done: true, value: undefined }
  }

  async #events(): Promise<Iterable<SseEvent>> {
    if (this.#writer === undefined || this.#stream === undefined) return this.#begin()
    return this.#eventsOf(await this.#stream.chunks.next(), this.#stream, this.#writer)
  }

  async #begin(): Promise<Iterable<SseEvent>> {
    const stream = await this.#starting
    this.#stream = stream
    this.#writer = this.#writerOf(stream.inputTokens)
    return this.#eventsOf(stream.first, stream, this.#writer)
  }

  async #eventsOf(
    { done, value }: IteratorResult<GenerateChunk, void>,
    { result }: Stream,
    writer: EventWriter,
  ): Promise<Iterable<SseEvent>> {
    if (done) {
      this.#hasEnded = true
      return writer.end(await result)
    }
    const piece = this.#pieces.of(value)
    return piece === undefined ? [] : writer.piece(piece)
  }
}

/** Runs a request. If it does not fit the context or the chat template, runs it again with fewer tokens or variables. */
async function fitting<T>(
  exchange: Exchange,
  job: Job,
  use: (generation: Generation) => PromiseLike<T>,
  onPrompt?: (totalTokens: number) => void,
): Promise<T> {
  const { engine } = exchange.site
  const onProgress = onPrompt && (({ totalTokens }: { totalTokens: number }) => onPrompt(totalTokens))
  const options = { ...exchange.runOptions, onProgress }
  const model = await exchange.loaded(job.model)
  let params = await withRoom(engine, limited(exchange, job, model), model, job.optionalVariables)
  let isShorter = false
  for (;;) {
    try {
      return await use(engine.generate(params, options))
    } catch (error) {
      // The first error has the exact length of the prompt, so a second cut would not help.
      const shorter: GenerateParams | undefined = isShorter ? undefined : withinContext(params, error)
      isShorter ||= shorter !== undefined
      const corrected = shorter ?? withoutVariable(exchange, job, params, error)
      if (corrected === undefined) throw error
      params = corrected
    }
  }
}

/** The params with a number of tokens that the server allows. */
function limited({ site }: Exchange, { params }: Job, { contextLength }: ModelHandle): GenerateParams {
  const { maxTokens: most } = site.settings
  const { maxTokens = most ?? Math.max(1, Math.floor(contextLength / 2)) } = params
  return { ...params, maxTokens: Math.min(maxTokens, most ?? maxTokens) }
}

/**
 * The params with `maxTokens` cut to the room that the prompt leaves in the context. Clients often ask for as many tokens as
 * another model can generate.
 */
function withinContext(params: GenerateParams, error: unknown): GenerateParams | undefined {
  if (!(error instanceof MlxServingError) || error.code !== 'ContextLengthExceeded') return undefined
  const { limit, requested } = error
  const { maxTokens } = params
  if (limit === undefined || requested === undefined || maxTokens === undefined) return undefined
  const promptTokens = requested - maxTokens
  const room = limit - promptTokens
  return promptTokens > 0 && room > 0 && room < maxTokens ? { ...params, maxTokens: room } : undefined
}

/** The params without a variable that may be left out, if the chat template does not read it. */
function withoutVariable(
  exchange: Exchange,
  job: Job,
  params: GenerateParams,
  error: unknown,
): GenerateParams | undefined {
  if (!(error instanceof MlxServingError) || params.messages === undefined) return undefined
  const name = error.param?.replace(/^templateVariables\./, '') ?? ''
  if (!job.optionalVariables?.includes(name)) return undefined
  const { [name]: _, ...templateVariables } = { ...params.templateVariables } as Record<string, unknown>
  exchange.warn(`the chat template has no variable ${name}`)
  return { ...params, templateVariables }
}

/** Waits until a promise settles, or the time has passed. */
async function settledWithin(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const passed = new Promise<void>(resolve => {
    timer = setTimeout(resolve, ms)
  })
  try {
    await Promise.race([promise, passed])
  } finally {
    clearTimeout(timer)
  }
}
