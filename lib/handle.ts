// Ends the work of a generation that was garbage-collected. A generation and its iterators share one handle. Once the last
// of them has been collected, no code can read the answer.

import type { Source } from './answer'

/** Refers to a source as long as the caller refers to the generation or an iterator. */
export class Handle {
  readonly source: Source

  constructor(source: Source) {
    this.source = source
    if (source.hasEnded) return
    collected.register(this, source, source)
    // Otherwise the registry would keep the ended answer in memory until the handle has been collected.
    source.onEnd(() => collected.unregister(source))
  }
}

const collected = new FinalizationRegistry<Source>(source => source.drop())
