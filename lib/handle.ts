// What a caller holds of an answer. A generation and its iterators share one handle; once the last of them has been
// collected, no code can read more of it, and the work ends. It knows neither generations nor iterators.

import type { Source } from './answer'

/** Reaches an answer for as long as something of the caller's refers to it. */
export class Handle {
  readonly source: Source

  constructor(source: Source) {
    this.source = source
    if (source.hasEnded) return
    collected.register(this, source, source)
    // The registry would keep the answer until the handle has been collected and its callback has run.
    source.onEnd(() => collected.unregister(source))
  }
}

const collected = new FinalizationRegistry<Source>(source => source.drop())
