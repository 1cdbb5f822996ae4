// The public `Generation`, and its start: reads params and options, submits the request, and connects signal, deadline and
// progress callback to the answer. lib/answer.ts implements the answer itself.

import { AsyncResource } from 'node:async_hooks'
import type {
  GenerateChunk,
  GenerateOptions,
  GenerateResult,
  Generation,
  GenerationStartedEvent,
  PromptProgress,
} from '../index'
import { Answer, type Outcome, type Source } from './answer'
import { Choices } from './choices'
import { invalid } from './errors'
import { Handle } from './handle'
import type { Draft, Hub, Reader } from './hub'
import type { Known } from './lifecycle/known'
import type { Lifecycle } from './lifecycle/lifecycle'
import type { Observer } from './observer'
import { isAbsent, type Properties, read, show, take } from './options'
import type { Script } from './scripted'
import { readSignal, reasonOf, watch } from './signals'
import { readsAsJson } from './structured'
import { clearTimeout, LONGEST_TIMER_MS, setTimeout } from './timers'

/** The part of the engine that a generation needs. */
export interface Host {
  readonly hub: Hub
  /** The script of a simulated device. */
  readonly script: Script | undefined
  /** Observes each request. */
  readonly observer: Observer
  readonly lifecycle: Lifecycle
  /** The model of a `model` param. Throws if it is not known. */
  modelOf(model: unknown): Known
}

type OnAbort = 'throw' | 'stop'
type OnProgress = NonNullable<GenerateOptions['onProgress']>

/** A request, and the name of it. */
export interface Request {
  id: string
  source: Source
}

/** Starts a request. Never throws: an error ends the answer. */
export function request(host: Host, params: unknown, options: unknown): Request {
  let id = host.hub.nextName()
  try {
    const forRun = read(options, 'options')
    if (isAbsent(forRun.id)) forRun.id = id
    // The addon refuses values of other types.
    else if (typeof forRun.id === 'string') id = forRun.id
    return { id, source: start(host, id, params, forRun) }
  } catch (error) {
    const answer = new Answer()
    answer.abandon(error)
    return { id, source: answer }
  }
}

function start(host: Host, id: string, params: unknown, forRun: Properties): Source {
  const forModel = read(params, 'params')
  const named = take(forModel, 'model')
  const model = host.modelOf(named)
  const signal = readSignal(take(forRun, 'signal'))
  const onAbort = readOnAbort(take(forRun, 'onAbort'))
  if (signal?.aborted && onAbort === 'throw') throw reasonOf(signal)
  const isJson = readsAsJson(forModel)
  const draft = { params: forModel, options: forRun, scripted: host.script?.find(forModel, named) }
  const completed = host.observer.submitting(() => {
    return { id, model: model.id, params: Object.freeze({ ...forModel }) as GenerationStartedEvent['params'] }
  })
  const answers = submit(host, model, draft, completed)
  const source = answers.length === 1 ? answers[0] : new Choices(answers, host.hub.keepAlive)
  if (completed !== undefined) source.onEnd(completed)
  try {
    if (isJson) for (const answer of answers) answer.parse()
    // The addon has checked the types of both.
    if (!isAbsent(forRun.onProgress)) report(source, answers[0], forRun.onProgress as OnProgress)
    if (!isAbsent(forRun.timeoutMs)) expire(source, answers, forRun.timeoutMs as number)
    if (signal !== undefined) connect(source, signal, onAbort)
  } catch (error) {
    source.abandon(error)
  }
  return source
}

/** Submits a request and returns its answers. `completed` gets the error of a request that is refused. */
export function submit(host: Host, model: Known, draft: Draft, completed?: (outcome: Outcome) => void): Answer[] {
  try {
    return model.isResident ? submitNow(host, model, draft) : submitLater(host, model, draft)
  } catch (error) {
    completed?.({ error })
    throw error
  }
}

function submitNow({ hub, lifecycle }: Host, model: Known, draft: Draft): Answer[] {
  const answers = hub.submit(model.key as number, draft, answerFor(hub))
  use(lifecycle, model, answers)
  return answers
}

/** The request is accepted at once, and waits until its model is loaded. */
function submitLater({ hub, lifecycle }: Host, model: Known, draft: Draft): Answer[] {
  const left = new AbortController()
  const load = (submit: (key: number) => void) => lifecycle.whenLoaded(model, { signal: left.signal }, submit)
  const { answers, held } = hub.hold(model.id, draft, answerFor(hub), load)
  use(lifecycle, model, answers, outcome => {
    if ('error' in outcome) held.end(outcome.error)
    // A load that no request waits for any more ends.
    left.abort()
  })
  return answers
}

function answerFor({ keepAlive }: Hub): (reader: Reader, index: number, count: number) => Answer {
  return (reader, index, count) => new Answer(index, reader, count === 1 ? keepAlive : undefined)
}

type Ended = (outcome: Outcome) => void

/** The model is in use until the last answer has ended. */
function use(lifecycle: Lifecycle, model: Known, answers: readonly Answer[], onEnd?: Ended): void {
  let running = answers.length
  lifecycle.begin(model)
  const end = (outcome: Outcome) => {
    if (--running > 0) return
    lifecycle.end(model)
    onEnd?.(outcome)
  }
  for (const answer of answers) answer.onEnd(end)
}

/**
 * Ends the answers at the deadline. The engine has the same deadline and checks it between steps. A step can be long, and
 * the caller does not wait for its end.
 */
export function expire(source: Source, answers: readonly Answer[], timeoutMs: number): void {
  // Only the engine checks a deadline beyond the range of timers.
  if (timeoutMs > LONGEST_TIMER_MS) return
  const timer = setTimeout(() => {
    for (const answer of answers) answer.expire()
  }, Math.ceil(timeoutMs))
  timer.unref()
  source.onEnd(() => clearTimeout(timer))
}

/** Ends the answer when the signal aborts. */
export function connect(answer: Source, signal: AbortSignal, onAbort: OnAbort): void {
  const abort = () => (onAbort === 'stop' ? answer.cancel() : answer.abandon(reasonOf(signal)))
  // A signal that was aborted before, or by a getter of the params, fires no event.
  if (signal.aborted) abort()
  else answer.onEnd(watch(signal, abort))
}

/**
 * Calls `onProgress` while the prompt is read. An error that it throws ends its own generation only. It runs in the async
 * context of the call of `generate`, not in the one in which the engine was created.
 */
export function report(source: Source, first: Answer, onProgress: OnProgress): void {
  const guarded = (progress: PromptProgress) => {
    try {
      onProgress(progress)
    } catch (error) {
      source.abandon(error)
    }
  }
  first.onProgress(AsyncResource.bind(guarded))
}

function readOnAbort(value: unknown): OnAbort {
  if (isAbsent(value)) return 'throw'
  if (value === 'throw' || value === 'stop') return value
  throw invalid('options.onAbort', `must be 'throw' or 'stop', not ${show(value)}`)
}

/** The public generation: it can be awaited any number of times, and read once. */
export class AnswerGeneration implements Generation {
  readonly id: string
  readonly #handle: Handle
  #isRead = false

  constructor({ id, source }: Request) {
    this.id = id
    this.#handle = new Handle(source)
  }

  // biome-ignore lint/suspicious/noThenProperty: a generation is awaitable by design
  then<A = GenerateResult, B = never>(
    onfulfilled?: ((result: GenerateResult) => A | PromiseLike<A>) | null,
    onrejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#handle.source.promise().then(onfulfilled, onrejected)
  }

  catch<B = never>(onrejected?: ((error: unknown) => B | PromiseLike<B>) | null): Promise<GenerateResult | B> {
    return this.#handle.source.promise().catch(onrejected)
  }

  finally(onfinally?: (() => void) | null): Promise<GenerateResult> {
    return this.#handle.source.promise().finally(onfinally)
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<GenerateChunk, void, undefined> {
    if (this.#isRead) throw invalid('generation', 'can be read once; it is being read already')
    this.#isRead = true
    return new Chunks(this.#handle)
  }

  toReadableStream(): ReadableStream<GenerateChunk> {
    const chunks = this[Symbol.asyncIterator]()
    return new ReadableStream<GenerateChunk>(
      {
        async pull(controller) {
          const step = await chunks.next()
          if (step.done) controller.close()
          else controller.enqueue(step.value)
        },
        async cancel() {
          await chunks.return?.()
        },
      },
      { highWaterMark: 0 },
    )
  }

  cancel(): void {
    this.#handle.source.cancel()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#handle.source.leave()
  }

  get [Symbol.toStringTag](): string {
    return 'Generation'
  }
}

/** The iterator of a generation. */
class Chunks implements AsyncIterableIterator<GenerateChunk, void, undefined> {
  readonly #handle: Handle

  constructor(handle: Handle) {
    this.#handle = handle
  }

  next(): Promise<IteratorResult<GenerateChunk, void>> {
    return this.#handle.source.next()
  }

  async return(): Promise<IteratorResult<GenerateChunk, void>> {
    return this.#handle.source.close()
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
