// One answer as a web stream of the AI SDK. It reads a chunk only when a part is wanted, so a reader that stops pauses the
// generation, and cancelling the stream ends the work.

import type { MlxStreamPart } from '../../ai-sdk'
import type { ChunkIterator, GenerateChunk, Generation } from '../../index'
import { MlxServingError } from '../errors'
import { callErrorOf } from './failures'
import { Parts } from './parts'
import { FAILED, finishReasonOf, metadataOf, usageOf } from './result'

/** A generation of which the first chunk has been read. */
export interface Started {
  generation: Generation
  chunks: ChunkIterator
  first: IteratorResult<GenerateChunk, void>
}

/** What a stream is made of besides the answer. */
export interface StreamSettings {
  /** The parts before those of the answer. */
  head: MlxStreamPart[]
  includeRawChunks: boolean
  signal: AbortSignal | undefined
  modelId: string
  body: unknown
}

type Controller = ReadableStreamDefaultController<MlxStreamPart>

export function streamOf(started: Started, settings: StreamSettings): ReadableStream<MlxStreamPart> {
  const source = new PartSource(started, settings)
  return new ReadableStream<MlxStreamPart>(
    { start: source.start, pull: source.pull, cancel: source.cancel },
    // The stream itself keeps no parts ahead of its reader: the engine does that, with a bound and a time limit.
    { highWaterMark: 0 },
  )
}

class PartSource {
  readonly #started: Started
  readonly #settings: StreamSettings
  readonly #parts = new Parts()
  #next: IteratorResult<GenerateChunk, void> | undefined
  #isCancelled = false

  constructor(started: Started, settings: StreamSettings) {
    this.#started = started
    this.#settings = settings
    this.#next = started.first
  }

  start = (controller: Controller): void => {
    for (const part of this.#settings.head) controller.enqueue(part)
  }

  /** Adds at least one part, or ends the stream: an empty pull would not be repeated. */
  pull = async (controller: Controller): Promise<void> => {
    try {
      for (let added = false; !added; ) {
        const step = this.#next ?? (await this.#started.chunks.next())
        this.#next = undefined
        if (this.#isCancelled) return
        if (step.done) return await this.#finish(controller)
        const parts = this.#partsOf(step.value)
        for (const part of parts) controller.enqueue(part)
        added = parts.length > 0
      }
    } catch (error) {
      if (!this.#isCancelled) this.#fail(controller, error)
    }
  }

  cancel = async (): Promise<void> => {
    this.#isCancelled = true
    await this.#started.chunks.return?.()
  }

  #partsOf(chunk: GenerateChunk): MlxStreamPart[] {
    const parts = this.#parts.of(chunk)
    return this.#settings.includeRawChunks ? [{ type: 'raw', rawValue: chunk }, ...parts] : parts
  }

  async #finish(controller: Controller): Promise<void> {
    const result = await this.#started.generation
    const finish = {
      usage: usageOf(result.usage),
      finishReason: finishReasonOf(result),
      providerMetadata: metadataOf(result),
    }
    for (const part of [...this.#parts.end(), { type: 'finish' as const, ...finish }]) controller.enqueue(part)
    controller.close()
  }

  /** After an abort the stream rejects with its reason. Any other error is a part, and the stream still has an end. */
  #fail(controller: Controller, error: unknown): void {
    const { signal, modelId, body } = this.#settings
    if (signal?.aborted) {
      controller.error(error)
      return
    }
    const usage = usageOf(error instanceof MlxServingError ? error.usage : undefined)
    const parts: MlxStreamPart[] = [
      ...this.#parts.end(),
      { type: 'error', error: callErrorOf(error, modelId, body) },
      { type: 'finish', usage, finishReason: FAILED },
    ]
    for (const part of parts) controller.enqueue(part)
    controller.close()
  }
}
