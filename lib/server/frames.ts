// Prepares the texts of a stream of server-sent events for sending: joins texts that are ready together, and adds a comment while
// the source is silent. Reads the source only as fast as the client reads.

import { clearImmediate, clearTimeout, setImmediate, setTimeout } from '../timers'

/** Events are joined up to this many bytes. A larger event is sent by itself. */
const MAX_JOINED_BYTES = 64 * 1024
/** A comment, which every client skips. */
const HEARTBEAT = ': keep-alive\n\n'

/** The texts of events; each has one event or several. */
export type Texts = AsyncIterator<string, unknown, undefined>

export interface FramesOptions {
  readonly heartbeatMs: number
  /** The client left before the end. */
  readonly onCancel?: (() => void) | undefined
  /** The last text of a source that failed. Without it the error is thrown. */
  readonly onError?: ((error: unknown) => string) | undefined
}

const SILENT = 'silent'
const SOON_OVER = 'soon over'

export class Frames {
  readonly #source: Texts
  readonly #options: FramesOptions
  /** The text that was asked for and has not been taken. */
  #next: Promise<IteratorResult<string, unknown>> | undefined
  /** One timer for all reads: a new one for each text would cost more than the text. */
  #silence: NodeJS.Timeout | undefined
  #onSilence = () => {}
  #isStarted = false
  #hasEnded = false

  constructor(source: Texts, options: FramesOptions) {
    this.#source = source
    this.#options = options
  }

  /** The next text to send; `undefined` at the end. */
  async read(): Promise<string | undefined> {
    if (this.#hasEnded) return undefined
    const arrival = await this.#arrivalOrSilence()
    if (arrival === SILENT) return HEARTBEAT
    this.#next = undefined
    if (arrival.done) {
      this.#end()
      return undefined
    }
    if (this.#isStarted) return this.#joined(arrival.value)
    // The first text is sent at once: it may be the first token.
    this.#isStarted = true
    return arrival.value
  }

  /** The client has left: ends the work of the source. */
  leave(): void {
    if (this.#hasEnded) return
    this.#end()
    this.#options.onCancel?.()
    this.#source.return?.()?.then(undefined, () => {})
  }

  #end(): void {
    this.#hasEnded = true
    clearTimeout(this.#silence)
  }

  /** Adds the texts that are ready within this turn of the event loop. */
  async #joined(text: string): Promise<string> {
    let bytes = Buffer.byteLength(text)
    while (bytes < MAX_JOINED_BYTES) {
      const arrival = await this.#arrivalInThisTurn()
      // The end is left to the next read.
      if (arrival === SOON_OVER || arrival.done) break
      const total = bytes + Buffer.byteLength(arrival.value)
      if (total > MAX_JOINED_BYTES) break
      this.#next = undefined
      text += arrival.value
      bytes = total
    }
    return text
  }

  #arrivalInThisTurn(): Promise<IteratorResult<string, unknown> | typeof SOON_OVER> {
    return new Promise((resolve, reject) => {
      const end = setImmediate(resolve, SOON_OVER)
      const settle = <T>(settled: (value: T) => void) => {
        return (value: T) => {
          clearImmediate(end)
          settled(value)
        }
      }
      this.#ask().then(settle(resolve), settle(reject))
    })
  }

  #arrivalOrSilence(): Promise<IteratorResult<string, unknown> | typeof SILENT> {
    return new Promise((resolve, reject) => {
      this.#onSilence = () => resolve(SILENT)
      if (this.#silence === undefined) {
        this.#silence = setTimeout(() => this.#onSilence(), this.#options.heartbeatMs)
      } else this.#silence.refresh()
      this.#ask().then(resolve, reject)
    })
  }

  /** Asks the source for a text, unless one was asked for. */
  #ask(): Promise<IteratorResult<string, unknown>> {
    this.#next ??= this.#take()
    return this.#next
  }

  async #take(): Promise<IteratorResult<string, unknown>> {
    try {
      return await this.#source.next()
    } catch (error) {
      const { onError } = this.#options
      if (this.#hasEnded || onError === undefined) {
        this.#end()
        throw error
      }
      this.#source.next = async () => ({ done: true, value: undefined })
      return { done: false, value: onError(error) }
    }
  }
}
