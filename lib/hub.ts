// One wake, one drain: hands what the addon has for all readers to each of them, and carries what readers say back.
// It knows readers by id only. What a reader does with its text is lib/answer.ts; promises and streams start there.

import type { GenerateChunk, GenerateResult, PromptProgress } from '../index'
import { errorOf, fromNative, unwrap } from './errors'
import { KeepAlive } from './keepalive'
import { Logprobs } from './logprobs'
import type { Drained, NativeAddon, NativeEngine, NativeResult } from './native'
import { reading } from './options'
import { saidOf, spokenOf } from './speech'
import { setImmediate } from './timers'

/** What is new in an answer. */
export type Piece = Omit<GenerateChunk, 'index'>

/** Receives one answer. */
export interface Sink {
  progress(progress: PromptProgress): void
  push(piece: Piece): void
  end(result: GenerateResult): void
  fail(error: unknown): void
}

/** What to generate, read and without what is JavaScript's. */
export interface Draft {
  model: number
  params: object
  options: object
}

/** Makes the sink of one of a number of answers. */
export type SinkOf<S extends Sink> = (reader: Reader, index: number, count: number) => S

export class Hub {
  readonly native: NativeEngine
  readonly keepAlive = new KeepAlive(this)
  readonly #sinks = new Map<number, Sink>()
  /** Consumed tokens are reported in portions of this: often enough not to be parked, seldom enough to cost nothing. */
  #portion = 1
  /** Delivered in this turn of the event loop; a wake meanwhile waits for the turn's end. */
  #hasDelivered = false
  #isWoken = false

  constructor(addon: NativeAddon) {
    // Weak: the addon holds the callback, and must not hold an engine that nobody else refers to.
    const hub = new WeakRef(this)
    this.native = new addon.NativeEngine(() => hub.deref()?.wake())
  }

  /** The engine has started; a stream may be so many tokens ahead of its reader. */
  begin(bufferTokens: number): void {
    this.#portion = Math.ceil(bufferTokens / 2)
  }

  /** Hands a request over, and makes a sink for each of its answers. Nothing is delivered before this returns. */
  submit<S extends Sink>({ model, params, options }: Draft, sinkOf: SinkOf<S>): S[] {
    const ids = unwrap(reading('params', () => this.native.submit(model, params, options)))
    return ids.map((id, index) => {
      const sink = sinkOf(new Reader(this, id, this.#portion), index, ids.length)
      this.#sinks.set(id, sink)
      return sink
    })
  }

  /**
   * Delivers at once, but once in a turn of the event loop: a device that is faster than its readers must not keep
   * timers and sockets waiting. Until the next delivery the addon gathers what comes and wakes no more.
   */
  wake(): void {
    this.#isWoken = this.#hasDelivered
    if (this.#isWoken) return
    this.#hasDelivered = true
    setImmediate(() => {
      this.#hasDelivered = false
      if (this.#isWoken) this.wake()
    })
    this.deliver()
  }

  /** Takes what is new and hands it out. */
  deliver(): void {
    try {
      this.#dispatch(this.native.drain())
    } catch (cause) {
      this.failAll(errorOf('BackendError', 'the answers could not be taken from the engine', { cause }))
    }
  }

  /** Ends every answer that is still open. */
  failAll(error: unknown): void {
    for (const id of [...this.#sinks.keys()]) this.#end(id, sink => sink.fail(error))
  }

  /** Delivers nothing more to this answer. Says whether there was an end still to come. */
  forget(id: number): boolean {
    return this.#sinks.delete(id)
  }

  #dispatch({ spans, tokens, text, said, ended, progress = NOTHING, logprobs }: Drained): void {
    for (let at = 0; at < progress.length; at += 4) {
      const [reader, processedTokens, totalTokens, cachedTokens] = progress.subarray(at, at + 4)
      this.#give(reader, sink => sink.progress({ processedTokens, totalTokens, cachedTokens }))
    }
    const odds = logprobs && new Logprobs(logprobs)
    let token = 0
    let unit = 0
    let next = 0
    for (let span = 0; span < spans.length; span += 3) {
      const [tokenStart, unitStart] = [token, unit]
      token += spans[span + 1]
      unit += spans[span + 2]
      const [tokenEnd, unitEnd] = [token, unit]
      const besides = said[next]?.span === span / 3 ? said[next++] : undefined
      const asked = odds?.take(spans[span + 1])
      this.#give(spans[span], sink => {
        // slice copies: a chunk that is kept must not keep the tokens of all answers.
        const piece = { text: text.slice(unitStart, unitEnd), tokens: tokens.slice(tokenStart, tokenEnd) }
        sink.push({ ...piece, ...(asked && { logprobs: asked }), ...(besides && saidOf(besides)) })
      })
    }
    for (const { reader, error, result } of ended) {
      this.#end(reader, sink => {
        if (error || !result) sink.fail(fromNative(error ?? NO_END))
        else sink.end(resultOf(result))
      })
    }
  }

  /** Hands something to an answer. What is thrown there ends this answer alone. */
  #give(id: number, give: (sink: Sink) => void): void {
    const sink = this.#sinks.get(id)
    if (sink === undefined) return
    try {
      give(sink)
    } catch (cause) {
      this.forget(id)
      this.native.release(id)
      fail(sink, cause)
    }
  }

  /** Ends an answer. */
  #end(id: number, end: (sink: Sink) => void): void {
    const sink = this.#sinks.get(id)
    if (sink === undefined) return
    this.forget(id)
    try {
      end(sink)
    } catch (cause) {
      fail(sink, cause)
    }
  }
}

/** An answer that cannot take its own failure is left as it is: the others go on. */
function fail(sink: Sink, cause: unknown): void {
  try {
    sink.fail(errorOf('BackendError', 'the answer could not be delivered', { cause }))
  } catch {}
}

/** One answer, as its consumer addresses it. */
export class Reader {
  readonly #hub: Hub
  readonly #id: number
  readonly #portion: number
  #unreported = 0

  constructor(hub: Hub, id: number, portion: number) {
    this.#hub = hub
    this.#id = id
    this.#portion = portion
  }

  /** From now on text is delivered as it comes, from the beginning. */
  open(): void {
    this.#hub.native.stream(this.#id)
  }

  /** Text with this many tokens was consumed. */
  consumed(tokens: number): void {
    this.#unreported += tokens
    if (this.#unreported < this.#portion) return
    this.#hub.native.credit(this.#id, this.#unreported)
    this.#unreported = 0
  }

  /** The answer shall end with what there is. */
  cancel(): void {
    this.#hub.native.cancel(this.#id)
  }

  /** The answer is not wanted any more: its work ends. */
  release(): void {
    if (this.#hub.forget(this.#id)) this.#hub.native.release(this.#id)
  }

  /** Delivers nothing more; the engine ends the work by itself. */
  ignore(): void {
    this.#hub.forget(this.#id)
  }
}

const NOTHING = new Uint32Array()
const NO_END = { code: 'BackendError', message: 'the answer ended with neither a result nor an error' }

function resultOf(native: NativeResult): GenerateResult {
  const { inputTokens, cachedInputTokens, outputTokens, cachedOutputTokens } = native
  const { queueMs, prefillMs, ttftMs, decodeMs, totalMs } = native
  const logprobs = native.logprobs && new Logprobs(native.logprobs).take(native.tokens.length)
  // A rate is what the device did for this call: what was there already has none.
  const numDecoded = outputTokens - cachedOutputTokens - 1
  const tokensPerSecond = numDecoded > 0 && decodeMs > 0 ? (numDecoded / decodeMs) * 1000 : 0
  return {
    text: native.text,
    ...spokenOf(native),
    tokens: native.tokens,
    ...(logprobs && { logprobs }),
    finishReason: native.finishReason as GenerateResult['finishReason'],
    usage: { inputTokens, cachedInputTokens, outputTokens, cachedOutputTokens },
    timings: { queueMs, prefillMs, ttftMs, decodeMs, totalMs, tokensPerSecond },
    served: native.served as GenerateResult['served'],
    id: native.id,
    ...(native.sharedFrom !== undefined && { sharedFrom: native.sharedFrom }),
    seed: native.seed,
  }
}
