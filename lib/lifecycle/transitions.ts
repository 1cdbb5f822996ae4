// Predicts the next model from how often each model followed another one. Only changes count: a second request for the same
// model in a row says nothing about the next one.

/** Fewer changes from a model predict nothing. */
const LEAST_CHANGES = 3
/** With more changes from a model its counts are halved, so that recent changes weigh more. */
const MOST_CHANGES = 256

export interface Prediction<M> {
  readonly model: M
  /** The share of the changes from the last model that led to this one, from 0 to 1. */
  readonly confidence: number
}

export class Transitions<M extends object> {
  /** For each model, how often others followed it. Weak: a forgotten model is not kept in memory. */
  readonly #counts = new WeakMap<M, Map<M, number>>()
  #last: M | undefined

  /** A model is used. */
  note(model: M): void {
    const last = this.#last
    this.#last = model
    if (last === undefined || last === model) return
    const counts = this.#counts.get(last) ?? new Map<M, number>()
    this.#counts.set(last, counts)
    counts.set(model, (counts.get(model) ?? 0) + 1)
    if (total(counts) <= MOST_CHANGES) return
    for (const [next, count] of counts) counts.set(next, count / 2)
  }

  /** The models that may follow the last one, and those that may follow these, the most probable first. */
  next(): Prediction<M>[] {
    const last = this.#last
    if (last === undefined) return []
    const predicted = new Map<M, number>()
    for (const first of this.#after(last)) {
      raise(predicted, first.model, first.confidence)
      for (const second of this.#after(first.model)) {
        if (second.model !== last) raise(predicted, second.model, first.confidence * second.confidence)
      }
    }
    const predictions = [...predicted].map(([model, confidence]) => ({ model, confidence }))
    return predictions.sort((one, other) => other.confidence - one.confidence)
  }

  #after(model: M): Prediction<M>[] {
    const counts = this.#counts.get(model)
    const all = counts === undefined ? 0 : total(counts)
    if (counts === undefined || all < LEAST_CHANGES) return []
    return [...counts].map(([model, count]) => ({ model, confidence: count / all }))
  }

  /** Removes a model that is not known any more. */
  forget(model: M, others: Iterable<M>): void {
    if (this.#last === model) this.#last = undefined
    this.#counts.delete(model)
    for (const other of others) this.#counts.get(other)?.delete(model)
  }
}

/** Of two ways to a model the more probable one counts. */
function raise<M>(predicted: Map<M, number>, model: M, confidence: number): void {
  predicted.set(model, Math.max(predicted.get(model) ?? 0, confidence))
}

function total(counts: ReadonlyMap<unknown, number>): number {
  let sum = 0
  for (const count of counts.values()) sum += count
  return sum
}
