// One answer on the JavaScript side: chunks that are not read yet, pending reads, and the outcome. Its promise is made
// only on demand, so that an answer that is iterated or ignored causes no unhandled rejection. Signals and params are in
// lib/generation.ts.

import type { GenerateChunk, GenerateResult, PromptProgress } from '../index'
import { errorOf } from './errors'
import type { Reader, Sink } from './hub'
import { type Hold, NO_HOLD } from './keepalive'
import { lastPiece, type Piece, wholePieces } from './output'
import { withParsed } from './structured'

export type Step = IteratorResult<GenerateChunk, undefined>
/** How an answer ended. */
export type Outcome = { result: GenerateResult } | { error: unknown }

/** The source of a generation: one answer, or several answers as one. */
export interface Source {
  readonly hasEnded: boolean
  /** The result. Each call returns the same promise. */
  promise(): Promise<GenerateResult>
  next(): Promise<Step>
  /** Calls `callback` at the end. The callback must not throw. */
  onEnd(callback: (outcome: Outcome) => void): void
  /** Ends at once with an error, and drops unread chunks. No effect after the end. */
  abandon(error: unknown): void
  /** Ends with the tokens so far. No effect after the end. */
  cancel(): void
  /** The iterator is left: drops unread chunks, and ends the work. */
  close(): Step
  /** The generation is not wanted any more: ends the work. No effect after the end. */
  leave(): void
  /** The handle was garbage-collected. Ends the work, unless the promise or a read is pending. */
  drop(): void
}

export interface Waiter<T> {
  resolve(value: T): void
  reject(error: unknown): void
}

export const DONE: Step = { done: true, value: undefined }

/** The error of an answer that is left before its end. */
export const left = () => errorOf('Cancelled', 'the generation was left before its end')

export class Answer implements Source, Sink {
  /** The index of the answer among those of its request. */
  readonly #index: number
  #reader: Reader | undefined
  #outcome: Outcome | undefined
  /** Keeps the process alive while the promise or a read is pending. */
  readonly #hold: Hold
  readonly #onEnd: ((outcome: Outcome) => void)[] = []
  #isJson = false
  #onProgress: ((progress: PromptProgress) => void) | undefined
  /** The result, once it was asked for. */
  #promise: Promise<GenerateResult> | undefined
  #settle: Waiter<GenerateResult> | undefined
  /** The chunks of an answer that is iterated. There are never both unread chunks and pending reads. */
  #opened = false
  readonly #chunks: GenerateChunk[] = []
  readonly #reads: Waiter<Step>[] = []
  /** What has been pushed of the chunks. */
  #pushed: 'nothing' | 'some' | 'all' = 'nothing'
  /** The length of the text before each tool call of the result. */
  #textBefore: readonly number[] = []
  /** The iterator has ended or was left. */
  #closed = false
  #isDropped = false

  /** `reader` delivers the answer. An answer without a reader can only be abandoned. */
  constructor(index = 0, reader?: Reader, hold = NO_HOLD) {
    this.#index = index
    this.#reader = reader
    this.#hold = hold
  }

  /** The text is JSON: the result gets the parsed value. */
  parse(): void {
    this.#isJson = true
  }

  onEnd(callback: (outcome: Outcome) => void): void {
    this.#onEnd.push(callback)
  }

  /** Calls `callback` while the prompt is read. The callback must not throw. */
  onProgress(callback: (progress: PromptProgress) => void): void {
    this.#onProgress = callback
  }

  progress(progress: PromptProgress): void {
    const onProgress = this.#onProgress
    // After the last report the callback is released: it may refer to its own generation, which could not be collected.
    if (progress.processedTokens >= progress.totalTokens) this.#onProgress = undefined
    onProgress?.(progress)
  }

  promise(): Promise<GenerateResult> {
    this.#promise ??= new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
      this.#hold.begin()
      this.#settlePromise()
    })
    return this.#promise
  }

  /** The next chunk. The first call starts the delivery of text. */
  next(): Promise<Step> {
    if (!this.#opened) this.#open()
    const chunk = this.#chunks.shift()
    if (chunk !== undefined) return Promise.resolve(this.#deliver(chunk))
    if (this.#outcome !== undefined) return this.#last(this.#outcome)
    return new Promise((resolve, reject) => {
      this.#hold.begin()
      this.#reads.push({ resolve, reject })
    })
  }

  push(piece: Piece): void {
    this.#pushed = piece.finishReason === undefined ? 'some' : 'all'
    const chunk = { index: this.#index, ...piece }
    const read = this.#reads.shift()
    if (read === undefined) {
      this.#chunks.push(chunk)
    } else {
      this.#hold.end()
      read.resolve(this.#deliver(chunk))
      this.#leaveUnlessAwaited()
    }
  }

  end(result: GenerateResult, textBefore: readonly number[]): void {
    this.#textBefore = textBefore
    if (this.#opened) this.#pushRest(result)
    this.#finish(this.#isJson ? parsed(result) : { result })
  }

  /** Ends with an error. Chunks that were delivered before can still be read. */
  fail(error: unknown): void {
    this.#finish({ error })
  }

  abandon(error: unknown): void {
    if (this.#outcome !== undefined) return
    this.#chunks.length = 0
    this.#reader?.release()
    this.#finish({ error })
  }

  /** The deadline has passed. Delivered chunks can still be read. The engine has the same deadline and ends the work. */
  expire(): void {
    if (this.#outcome !== undefined) return
    const usage = this.#reader?.usage()
    this.#reader?.ignore()
    this.fail(errorOf('Timeout', 'the deadline passed before the answer was complete', { usage }))
  }

  cancel(): void {
    if (this.#outcome === undefined) this.#reader?.cancel()
  }

  get hasEnded(): boolean {
    return this.#outcome !== undefined
  }

  close(): Step {
    this.#closed = true
    this.#chunks.length = 0
    this.leave()
    return DONE
  }

  leave(): void {
    this.abandon(left())
  }

  drop(): void {
    this.#isDropped = true
    this.#leaveUnlessAwaited()
  }

  #leaveUnlessAwaited(): void {
    if (this.#isDropped && this.#promise === undefined && this.#reads.length === 0) this.leave()
  }

  #open(): void {
    this.#opened = true
    if (this.#outcome === undefined) this.#reader?.open()
    else if ('result' in this.#outcome && !this.#closed) this.#pushRest(this.#outcome.result)
  }

  /** The answer has ended: pushes what was not delivered in pieces. The last chunk has the finish reason. */
  #pushRest(result: GenerateResult): void {
    if (this.#pushed === 'nothing') for (const piece of wholePieces(result, this.#textBefore)) this.push(piece)
    else if (this.#pushed === 'some') this.push(lastPiece(result))
  }

  #deliver(chunk: GenerateChunk): Step {
    if (this.#outcome === undefined) this.#reader?.consumed(chunk.tokens.length)
    return { done: false, value: chunk }
  }

  #finish(outcome: Outcome): void {
    if (this.#outcome !== undefined) return
    this.#outcome = outcome
    this.#settlePromise()
    for (const read of this.#reads.splice(0)) {
      this.#hold.end()
      this.#last(outcome).then(read.resolve, read.reject)
    }
    this.#reader = undefined
    for (const callback of this.#onEnd.splice(0)) callback(outcome)
  }

  #settlePromise(): void {
    const outcome = this.#outcome
    const settle = this.#settle
    if (outcome === undefined || settle === undefined) return
    this.#settle = undefined
    this.#hold.end()
    if ('result' in outcome) settle.resolve(outcome.result)
    else settle.reject(outcome.error)
  }

  /** The last step of the iterator. An error is thrown once. */
  #last(outcome: Outcome): Promise<Step> {
    if ('result' in outcome || this.#closed) return Promise.resolve(DONE)
    this.#closed = true
    return Promise.reject(outcome.error)
  }
}

/** Parses the text of an answer with a schema. The grammar makes it valid JSON, so a failure is an internal error. */
function parsed(result: GenerateResult): Outcome {
  try {
    return { result: withParsed(result) }
  } catch (cause) {
    return { error: errorOf('GuidanceError', 'the answer is not the JSON that was asked for', { cause }) }
  }
}
