// Delivers what the addon has for all readers, one drain for each wake, and passes calls of readers to the addon. This file
// knows readers by their ids only. lib/answer.ts makes promises and streams of the deliveries.

import { randomBytes } from 'node:crypto'
import type { GenerateResult, PromptProgress, Usage } from '../index'
import { errorOf, fromNative, MlxServingError, unwrap } from './errors'
import { KeepAlive } from './keepalive'
import type { Log } from './log'
import { Logprobs } from './logprobs'
import type { Drained, NativeAddon, NativeEngine, NativeResult } from './native'
import { reading } from './options'
import { type Piece, parsedDelta, parsedOutput, usageOf } from './output'
import { setImmediate } from './timers'

/** Receives one answer. */
export interface Sink {
  progress(progress: PromptProgress): void
  push(piece: Piece): void
  /** The answer is complete. `textBefore` has the length of its text before each of its tool calls. */
  end(result: GenerateResult, textBefore: readonly number[]): void
  fail(error: unknown): void
}

/** A request for the addon: copies of params and options, without the parts that only concern JavaScript. */
export interface Draft {
  params: object
  options: object
  /** What the script of a simulated device has for the request. */
  scripted: unknown
  /** Set if the request pins its prompt under this number. */
  pin?: number
}

/** Makes the sink of one of the answers to a request. */
export type SinkOf<S extends Sink> = (reader: Reader, index: number, count: number) => S

export class Hub {
  readonly native: NativeEngine
  readonly keepAlive = new KeepAlive(this)
  /**
   * The sinks of open answers, by the id of their reader. The other state of a reader is one record in Rust
   * (`src/answers/reader.rs`). Sinks are here because a JavaScript object that Rust held could not be garbage-collected.
   */
  readonly #sinks = new Map<number, Sink>()
  /** Consumed tokens are reported in portions of this size: half of the buffer, so that the stream is not parked. */
  #portion = 1
  /** Whether this turn of the event loop has delivered. A further wake waits for the end of the turn. */
  #hasDelivered = false
  #isWoken = false
  /** The start of the names of requests. */
  readonly #name = randomBytes(4).toString('hex')
  #numNamed = 0
  #numPins = 0
  readonly #log: Log

  constructor(addon: NativeAddon, log: Log) {
    this.#log = log
    // Weak: the addon holds the callback, which must not keep an unreferenced engine in memory.
    const hub = new WeakRef(this)
    this.native = new addon.NativeEngine(() => hub.deref()?.wake())
  }

  /** The engine has started. A stream may be `bufferTokens` ahead of its reader. */
  begin(bufferTokens: number): void {
    this.#portion = Math.ceil(bufferTokens / 2)
  }

  /** A name for a request, unlike that of any other request. */
  nextName(): string {
    return `${this.#name}-${this.#numNamed++}`
  }

  /** A number for a pinned prompt, unlike that of any other one. */
  nextPin(): number {
    return this.#numPins++
  }

  /** Submits a request, and makes a sink for each of its answers. Nothing is delivered before this returns. */
  submit<S extends Sink>(model: number, { params, options, scripted, pin }: Draft, sinkOf: SinkOf<S>): S[] {
    const submit = () =>
      pin === undefined
        ? this.native.submit(model, params, options, scripted)
        : this.native.pin(model, params, options, pin)
    return this.#sinksOf(unwrap(reading('params', submit)), sinkOf)
  }

  /**
   * The same for the model with an id, which is not loaded. The request is checked and accepted at once. `load` loads the
   * model and then calls its argument with the key; if it fails, the answers end with its error.
   */
  hold<S extends Sink>(
    id: string,
    { params, options, scripted, pin }: Draft,
    sinkOf: SinkOf<S>,
    load: (submit: (model: number) => void) => Promise<void>,
  ): { answers: S[]; held: Held } {
    const hold = () =>
      pin === undefined
        ? this.native.hold(id, params, options, scripted)
        : this.native.holdPin(id, params, options, pin)
    const ids = unwrap(reading('params', hold))
    const answers = this.#sinksOf(ids, sinkOf)
    const held = new Held(this, ids)
    load(model => this.native.submitHeld(ids[0], model)).catch(error => held.fail(error))
    return { answers, held }
  }

  /** Ends one open answer with an error. */
  failOne(id: number, error: unknown): void {
    this.#end(id, sink => sink.fail(error))
  }

  #sinksOf<S extends Sink>(ids: readonly number[], sinkOf: SinkOf<S>): S[] {
    return ids.map((id, index) => {
      const sink = sinkOf(new Reader(this, id, this.#portion), index, ids.length)
      this.#sinks.set(id, sink)
      return sink
    })
  }

  /**
   * Delivers at once, but only once in each turn of the event loop, so that a fast device does not starve timers and
   * sockets. Until the next delivery the addon collects new tokens without another wake.
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

  /** Stops the engine of a process that exits, and writes its last messages. */
  stop(): void {
    this.native.stop()
    this.#deliverLog()
  }

  /** Drains the addon and delivers to the sinks and to the log. */
  deliver(): void {
    this.#deliverLog()
    try {
      this.#dispatch(this.native.drain())
    } catch (cause) {
      this.failAll(errorOf('BackendError', 'the answers could not be taken from the engine', { cause }))
    }
  }

  #deliverLog(): void {
    const log = this.#log.isOn && this.native.takeLog()
    if (log) this.#log.deliver(log)
  }

  /** Ends every open answer with an error. */
  failAll(error: unknown): void {
    for (const id of [...this.#sinks.keys()]) this.#end(id, sink => sink.fail(error))
  }

  /** Delivers nothing more to this answer. Returns whether it was open. */
  forget(id: number): boolean {
    return this.#sinks.delete(id)
  }

  #dispatch({ spans, tokens, text, deltas, ended, progress = NOTHING, logprobs }: Drained): void {
    for (let at = 0; at < progress.length; at += 4) {
      const [reader, processedTokens, totalTokens, cachedTokens] = progress.subarray(at, at + 4)
      this.#give(reader, sink => sink.progress({ processedTokens, totalTokens, cachedTokens }))
    }
    const packed = logprobs && new Logprobs(logprobs)
    const lasts = ended.filter(({ span }) => span !== undefined)
    let token = 0
    let unit = 0
    let next = 0
    let nextEnd = 0
    for (let span = 0; span < spans.length; span += 3) {
      const [tokenStart, unitStart] = [token, unit]
      token += spans[span + 1]
      unit += spans[span + 2]
      const [tokenEnd, unitEnd] = [token, unit]
      const delta = deltas[next]?.span === span / 3 ? deltas[next++] : undefined
      const end = lasts[nextEnd]?.span === span / 3 ? lasts[nextEnd++] : undefined
      const spanLogprobs = packed?.take(spans[span + 1])
      this.#give(spans[span], sink => {
        // `slice` copies: a chunk that the caller keeps must not keep the tokens of all answers in memory.
        const piece = { text: text.slice(unitStart, unitEnd), tokens: tokens.slice(tokenStart, tokenEnd) }
        sink.push({
          ...piece,
          ...(spanLogprobs && { logprobs: spanLogprobs }),
          ...(delta && parsedDelta(delta)),
          ...(end?.result && { finishReason: end.result.finishReason }),
        })
      })
    }
    for (const { reader, error, result } of ended) {
      this.#end(reader, sink => {
        if (error || !result) sink.fail(fromNative(error ?? NO_END))
        else sink.end(resultOf(result), result.calls?.map(call => call.textBefore) ?? [])
      })
    }
  }

  /** Delivers to one sink. An error that it throws ends this answer only. */
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

  /** Ends one answer. */
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

/** Fails one answer. If that throws too, the error is dropped, so that other answers go on. */
function fail(sink: Sink, cause: unknown): void {
  try {
    sink.fail(errorOf('BackendError', 'the answer could not be delivered', { cause }))
  } catch {}
}

/** A request that waits for its model. */
class Held {
  readonly #hub: Hub
  readonly #ids: readonly number[]

  constructor(hub: Hub, ids: readonly number[]) {
    this.#hub = hub
    this.#ids = ids
  }

  /** Ends the request with an error. No effect once it was submitted or has ended. */
  fail(error: unknown): void {
    for (const id of this.#ids) this.#hub.failOne(id, error)
    this.end(error)
  }

  /** The request has ended with this error for its caller, for example at its deadline. Frees its place in the queue. */
  end(error: unknown): void {
    const code = error instanceof MlxServingError ? error.code : 'Cancelled'
    this.#hub.native.failHeld(this.#ids[0], code, 'the request ended before its model was loaded')
  }
}

/** The reader of one answer, for its consumer. */
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

  /** Starts the delivery of text, from the beginning of the answer. */
  open(): void {
    this.#hub.native.stream(this.#id)
  }

  /** The consumer took a chunk with this many tokens. */
  consumed(tokens: number): void {
    this.#unreported += tokens
    if (this.#unreported < this.#portion) return
    this.#hub.native.credit(this.#id, this.#unreported)
    this.#unreported = 0
  }

  /** What the request has used so far; `undefined` before its generation has started. */
  usage(): Usage | undefined {
    const usage = this.#hub.native.usage(this.#id)
    return usage ? usageOf(usage) : undefined
  }

  /** Ends the answer with the tokens so far. */
  cancel(): void {
    this.#hub.native.cancel(this.#id)
  }

  /** The answer is not wanted any more: ends its work. */
  release(): void {
    if (this.#hub.forget(this.#id)) this.#hub.native.release(this.#id)
  }

  /** Delivers nothing more. The engine ends the work by itself. */
  ignore(): void {
    this.#hub.forget(this.#id)
  }
}

const NOTHING = new Uint32Array()
const NO_END = { code: 'BackendError', message: 'the answer ended with neither a result nor an error' }

function resultOf(native: NativeResult): GenerateResult {
  const { outputTokens, cachedOutputTokens } = native
  const { queueMs, prefillMs, ttftMs, decodeMs, totalMs } = native
  const logprobs = native.logprobs && new Logprobs(native.logprobs).take(native.tokens.length)
  // The rate counts only tokens that were decoded for this call.
  const numDecoded = outputTokens - cachedOutputTokens - 1
  const tokensPerSecond = numDecoded > 0 && decodeMs > 0 ? (numDecoded / decodeMs) * 1000 : 0
  return {
    text: native.text,
    ...parsedOutput(native),
    tokens: native.tokens,
    ...(logprobs && { logprobs }),
    finishReason: native.finishReason,
    usage: usageOf(native),
    timings: { queueMs, prefillMs, ttftMs, decodeMs, totalMs, tokensPerSecond },
    served: native.served,
    id: native.id,
    ...(native.sharedFrom !== undefined && { sharedFrom: native.sharedFrom }),
    seed: native.seed,
  }
}
