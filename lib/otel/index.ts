// `mlx-serving/otel`: a span for each generation, made of the engine's own events. A listener of `generation:started` runs inside
// `generate`, so the active span there is the parent.

import { type Context, context, type Span, SpanKind, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api'
import type { Engine, GenerationCompletedEvent, GenerationStartedEvent, Timings } from '../../index'
import type { InstrumentOptions } from '../../otel'
import { MlxServingError } from '../errors'
import { cancelled, ofRequest, ofResult } from './attributes'

const NAME = 'mlx-serving'

/** The span of a generation that runs. */
interface Open {
  readonly span: Span
  readonly context: Context
  /** In milliseconds since the epoch. */
  readonly startTime: number
}

export function instrument(engine: Engine, options: InstrumentOptions = {}): () => void {
  const tracer = options.tracer ?? trace.getTracer(NAME)
  const spans = new Spans(tracer)
  let isEnding = false
  const started = (event: GenerationStartedEvent) => spans.start(event)
  const completed = (event: GenerationCompletedEvent) => {
    spans.end(event)
    if (isEnding) leave()
  }
  const leave = () => {
    if (spans.isEmpty) engine.off('generation:completed', completed)
  }
  engine.on('generation:started', started).on('generation:completed', completed)
  return () => {
    isEnding = true
    engine.off('generation:started', started)
    leave()
  }
}

class Spans {
  readonly #tracer: Tracer
  /** By the id of the generation. Callers choose ids, and may use one twice at a time. */
  readonly #open = new Map<string, Open[]>()

  constructor(tracer: Tracer) {
    this.#tracer = tracer
  }

  get isEmpty(): boolean {
    return this.#open.size === 0
  }

  start(event: GenerationStartedEvent): void {
    const startTime = performance.timeOrigin + performance.now()
    const parent = context.active()
    const { name, attributes } = ofRequest(event)
    const span = this.#tracer.startSpan(name, { kind: SpanKind.INTERNAL, attributes, startTime }, parent)
    const open = { span, context: trace.setSpan(parent, span), startTime }
    const others = this.#open.get(event.id)
    if (others === undefined) this.#open.set(event.id, [open])
    else others.push(open)
  }

  end({ id, durationMs, result, error }: GenerationCompletedEvent): void {
    const all = this.#open.get(id)
    const open = all?.shift()
    if (all?.length === 0) this.#open.delete(id)
    // It started before the instrumentation.
    if (open === undefined) return
    const { span, startTime } = open
    if (result !== undefined) {
      span.setAttributes(ofResult(result))
      this.#phases(open, result.timings, durationMs)
    } else if (error instanceof MlxServingError && error.code !== 'Cancelled') {
      span.setAttribute('error.type', error.code)
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message })
    } else {
      // The caller has left, or its signal has aborted.
      span.setAttributes(cancelled())
    }
    span.end(startTime + durationMs)
  }

  /** Spans for the parts of a generation, one after another. */
  #phases({ context, startTime }: Open, { queueMs, prefillMs, decodeMs }: Timings, durationMs: number): void {
    const end = startTime + durationMs
    let from = startTime
    for (const [name, ms] of Object.entries({ queue: queueMs, prefill: prefillMs, decode: decodeMs })) {
      if (ms <= 0) continue
      const to = Math.min(from + ms, end)
      this.#tracer.startSpan(name, { kind: SpanKind.INTERNAL, startTime: from }, context).end(to)
      from = to
    }
  }
}
