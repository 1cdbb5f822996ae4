// One answer on the JavaScript side: what came and was not read yet, who waits for more, and how it ended. Promises are
// made only when someone asks for one, so that an answer which is iterated, or ignored, cannot fail a second time as an
// unhandled rejection. It knows no signals and no params: lib/generation.ts does.

import type { GenerateChunk, GenerateResult, PromptProgress } from '../index'
import { errorOf } from './errors'
import type { Piece, Reader, Sink } from './hub'
import { type Hold, NO_HOLD } from './keepalive'
import { saidIn } from './speech'
import { withParsed } from './structured'

export type Step = IteratorResult<GenerateChunk, undefined>
type Outcome = { result: GenerateResult } | { error: unknown }

/** What a generation reads: one answer, or several as one. */
export interface Source {
  readonly hasEnded: boolean
  /** The whole; the same promise each time. */
  promise(): Promise<GenerateResult>
  next(): Promise<Step>
  /** What to do at the end. The callback does not throw. */
  onEnd(callback: () => void): void
  /** Ends at once, from this side: what was not read is dropped. Without effect on what has ended. */
  abandon(error: unknown): void
  /** Ends with what there is. Without effect on what has ended. */
  cancel(): void
  /** Its reader left: nothing more is read, and what still runs is not wanted. */
  close(): Step
  /** It is not wanted any more. Without effect on what has ended. */
  leave(): void
  /** No further call can come. What is awaited already goes on; else the work ends. */
  drop(): void
}

export interface Waiter<T> {
  resolve(value: T): void
  reject(error: unknown): void
}

export const DONE: Step = { done: true, value: undefined }

/** How an answer ends that is not wanted any more. */
export const left = () => errorOf('Cancelled', 'the generation was left before its end')

export class Answer implements Source, Sink {
  /** Which of the answers to a request. */
  readonly #index: number
  #reader: Reader | undefined
  #outcome: Outcome | undefined
  /** Held while the promise or a read is pending. */
  readonly #hold: Hold
  readonly #onEnd: (() => void)[] = []
  #isJson = false
  #onProgress: ((progress: PromptProgress) => void) | undefined
  /** The whole answer, for those who await it. */
  #promise: Promise<GenerateResult> | undefined
  #settle: Waiter<GenerateResult> | undefined
  /** The pieces, for the one who reads. Never both chunks and waiting reads. */
  #opened = false
  readonly #chunks: GenerateChunk[] = []
  readonly #reads: Waiter<Step>[] = []
  /** A piece has reached the reader. */
  #delivered = false
  /** The reader has seen the end, or left. */
  #closed = false
  #isDropped = false

  /** `reader` is where it comes from; without one it can only be abandoned. */
  constructor(index = 0, reader?: Reader, hold = NO_HOLD) {
    this.#index = index
    this.#reader = reader
    this.#hold = hold
  }

  /** Its text is JSON, and its result has the value. */
  parse(): void {
    this.#isJson = true
  }

  onEnd(callback: () => void): void {
    this.#onEnd.push(callback)
  }

  /** What to do while its prompt is read. The callback does not throw. */
  onProgress(callback: (progress: PromptProgress) => void): void {
    this.#onProgress = callback
  }

  progress(progress: PromptProgress): void {
    const onProgress = this.#onProgress
    // The last report. What the callback refers to, often its own generation, can be collected from here on.
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

  /** The next piece. The first call is what starts delivery. */
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

  end(result: GenerateResult): void {
    // It ended before the addon saw that it is read: everything is in the result.
    if (this.#opened && !this.#delivered && this.#chunks.length === 0) this.#pushWhole(result)
    this.#finish(this.#isJson ? parsed(result) : { result })
  }

  /** What was delivered before an error can still be read. */
  fail(error: unknown): void {
    this.#finish({ error })
  }

  abandon(error: unknown): void {
    if (this.#outcome !== undefined) return
    this.#chunks.length = 0
    this.#reader?.release()
    this.#finish({ error })
  }

  /** Its time is over: what was delivered can still be read. The engine, which has the same deadline, ends the work. */
  expire(): void {
    if (this.#outcome !== undefined) return
    this.#reader?.ignore()
    this.fail(errorOf('Timeout', 'the deadline passed before the answer was complete'))
  }

  cancel(): void {
    if (this.#outcome === undefined) this.#reader?.cancel()
  }

  get hasEnded(): boolean {
    return this.#outcome !== undefined
  }

  /** Whether it has ended and everything was read. */
  get isRead(): boolean {
    return this.hasEnded && this.#chunks.length === 0
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
    else if ('result' in this.#outcome && !this.#closed) this.#pushWhole(this.#outcome.result)
  }

  #pushWhole(result: GenerateResult): void {
    const { text, tokens, logprobs } = result
    if (tokens.length > 0) this.push({ text, tokens: tokens.slice(), ...(logprobs && { logprobs }), ...saidIn(result) })
  }

  #deliver(chunk: GenerateChunk): Step {
    this.#delivered = true
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
    for (const callback of this.#onEnd.splice(0)) callback()
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

  /** The end as its reader sees it: an error is thrown once. */
  #last(outcome: Outcome): Promise<Step> {
    if ('result' in outcome || this.#closed) return Promise.resolve(DONE)
    this.#closed = true
    return Promise.reject(outcome.error)
  }
}

/** That it can be parsed was made sure of where its tokens were drawn. */
function parsed(result: GenerateResult): Outcome {
  try {
    return { result: withParsed(result) }
  } catch (cause) {
    return { error: errorOf('GuidanceError', 'the answer is not the JSON that was asked for', { cause }) }
  }
}
