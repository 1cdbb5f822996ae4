// Several answers to one request as one source: awaited together, and read in the order in which their chunks arrive. An
// error of one answer ends all of them.

import type { GenerateResult } from '../index'
import { type Answer, DONE, left, type Outcome, type Source, type Step, type Waiter } from './answer'
import type { Hold } from './keepalive'

export class Choices implements Source {
  readonly #answers: readonly Answer[]
  #promise: Promise<GenerateResult> | undefined
  /** Answers that have not ended. Empty after an error. */
  readonly #open: Set<Answer>
  /** Answers with a pending call of `next`. */
  readonly #asked = new Set<Answer>()
  /** Chunks that arrived without a pending read, at most one of each answer. There are never both chunks and reads. */
  readonly #ready: Step[] = []
  readonly #reads: Waiter<Step>[] = []
  #failure: { error: unknown } | undefined
  /** Keeps the process alive while the promise or a read is pending. The answers themselves hold nothing. */
  readonly #hold: Hold
  #isDropped = false

  constructor(answers: readonly Answer[], hold: Hold) {
    this.#answers = answers
    this.#open = new Set(answers)
    this.#hold = hold
  }

  onEnd(callback: (outcome: Outcome) => void): void {
    const outcomes: Outcome[] = new Array(this.#answers.length)
    let running = this.#answers.length
    for (const [index, answer] of this.#answers.entries()) {
      answer.onEnd(outcome => {
        outcomes[index] = outcome
        if (--running === 0) callback(together(outcomes))
      })
    }
  }

  promise(): Promise<GenerateResult> {
    this.#promise ??= this.#whole()
    return this.#promise
  }

  next(): Promise<Step> {
    const step = this.#ready.shift()
    if (step !== undefined) return Promise.resolve(step)
    if (this.#failure !== undefined) return this.#throwOnce(this.#failure.error)
    if (this.#open.size === 0) return Promise.resolve(DONE)
    return new Promise((resolve, reject) => {
      this.#hold.begin()
      this.#reads.push({ resolve, reject })
      this.#ask()
    })
  }

  get hasEnded(): boolean {
    return this.#answers.every(answer => answer.hasEnded)
  }

  abandon(error: unknown): void {
    if (this.hasEnded) return
    this.#ready.length = 0
    this.#fail(error)
  }

  cancel(): void {
    for (const answer of this.#answers) answer.cancel()
  }

  close(): Step {
    this.#ready.length = 0
    this.#failure = undefined
    this.#open.clear()
    for (const answer of this.#answers) answer.close()
    this.#settleReads()
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

  async #whole(): Promise<GenerateResult> {
    this.#hold.begin()
    try {
      return wholeOf(await Promise.all(this.#answers.map(answer => answer.promise())))
    } catch (error) {
      this.#endAll(error)
      throw error
    } finally {
      this.#hold.end()
    }
  }

  #ask(): void {
    for (const answer of this.#open) {
      if (this.#asked.has(answer)) continue
      this.#asked.add(answer)
      answer.next().then(
        step => this.#take(answer, step),
        error => this.#fail(error),
      )
    }
  }

  #take(answer: Answer, step: Step): void {
    this.#asked.delete(answer)
    if (!this.#open.has(answer)) return
    if (step.done) this.#open.delete(answer)
    else {
      const read = this.#takeRead()
      if (read === undefined) this.#ready.push(step)
      else read.resolve(step)
    }
    if (this.#open.size === 0) this.#settleReads()
    else if (this.#reads.length > 0) this.#ask()
    else this.#leaveUnlessAwaited()
  }

  /** Takes the oldest pending read. */
  #takeRead(): Waiter<Step> | undefined {
    const read = this.#reads.shift()
    if (read !== undefined) this.#hold.end()
    return read
  }

  /** Ends all answers with an error. Chunks that are ready can still be read. */
  #fail(error: unknown): void {
    if (this.#open.size === 0) return
    this.#open.clear()
    this.#endAll(error)
    const read = this.#takeRead()
    if (read === undefined) this.#failure = { error }
    else read.reject(error)
    this.#settleReads()
  }

  #endAll(error: unknown): void {
    for (const answer of this.#answers) answer.abandon(error)
  }

  #throwOnce(error: unknown): Promise<Step> {
    this.#failure = undefined
    return Promise.reject(error)
  }

  /** Ends all pending reads. */
  #settleReads(): void {
    for (let read = this.#takeRead(); read !== undefined; read = this.#takeRead()) read.resolve(DONE)
  }
}

/** The outcome of all answers: the first error, or all results. */
function together(outcomes: readonly Outcome[]): Outcome {
  const failed = outcomes.find(outcome => 'error' in outcome)
  return failed ?? { result: wholeOf(outcomes.flatMap(outcome => ('result' in outcome ? [outcome.result] : []))) }
}

function wholeOf(choices: GenerateResult[]): GenerateResult {
  return { ...choices[0], choices }
}
