// The public types of mlx-serving/otel: spans of OpenTelemetry for generations.

import type { Tracer } from '@opentelemetry/api'
import type { Engine } from './index.js'

/**
 * Makes a span for each generation of an engine, with children for the time in the queue, for reading the prompt and for
 * decoding. So a trace shows where the time of a request went, beside the spans of the HTTP server and the database.
 *
 * The span is a child of the span that is active where `generate` is called. Its attributes follow the semantic conventions for
 * generative AI: `gen_ai.request.model`, `gen_ai.usage.output_tokens`, `gen_ai.response.finish_reasons` and so on. No text of
 * prompts or answers is recorded. `@opentelemetry/api` must be installed; without a registered SDK the spans go nowhere.
 *
 * @returns a function that ends the instrumentation. Spans of running generations are still completed.
 *
 * @example
 * const engine = await createEngine()
 * instrument(engine)
 */
export declare function instrument(engine: Engine, options?: InstrumentOptions): () => void

/** Options of {@link instrument}. */
export interface InstrumentOptions {
  /** Makes the spans. @default the global provider's tracer with the name `'mlx-serving'` */
  tracer?: Tracer | undefined
}
