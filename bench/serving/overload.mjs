// Sends ten times as many requests as the device can serve, in real time through JavaScript and the addon. Measures the time of
// a refusal, the cost for accepted requests, and the time to recover. Refused callers do not retry.

import { setTimeout as sleep } from 'node:timers/promises'
import { createEngine, OverloadedError } from '../../dist/index.mjs'
import { median, quantile, quartiles } from '../statistics.mjs'
import { longPrompts, PROFILE } from './real_time.mjs'

/** Enough for the 32 rows of the largest batch and half as many waiting requests. */
const MAX_PENDING = 48
const MAX_TOKENS = 50
/** Duration of a load. Answers count after it has settled. */
const SECONDS = 10
const SETTLED_AFTER = 4
const PAIRS = 3
/** An answer is good if its first token came within this time. */
const GOOD_MS = 2_000
const OVERLOAD = 10

/** Loads of one and ten times the rate that the device can serve, in turns on one engine. */
export async function sampleOverload() {
  const prompts = await longPrompts()
  const engine = await createEngine({ backend: { simulated: PROFILE }, scheduler: { maxPending: MAX_PENDING } })
  const model = await engine.loadModel()
  let asked = 0
  const ask = () => {
    const prompt = prompts[asked++ % prompts.length]
    return engine.generate({ model, prompt, maxTokens: MAX_TOKENS, temperature: 0, cache: 'off' })
  }
  await ask() // To warm up.
  const { timings: alone } = await ask()
  const capacity = await capacityOf(ask)
  const pairs = []
  for (let pair = 0; pair < PAIRS; pair++) {
    const fits = await offer(ask, capacity)
    await fits.ended
    const floods = await offer(ask, OVERLOAD * capacity)
    const recoveryMs = await recovery(ask, alone.ttftMs)
    await floods.ended
    pairs.push({ fits, floods, recoveryMs })
  }
  await engine.dispose()
  return summary(capacity, pairs)
}

/** Answers a second of a closed loop that fills every place. */
async function capacityOf(ask) {
  const { until, counts } = period()
  let ended = 0
  const user = async () => {
    while (performance.now() < until) {
      await ask()
      if (counts()) ended++
    }
  }
  await Promise.all(Array.from({ length: MAX_PENDING }, user))
  return ended / (SECONDS - SETTLED_AFTER)
}

/** The begin and the end of a load that starts now. `counts()` says whether an answer that ends now counts. */
function period() {
  const begin = performance.now()
  const until = begin + 1_000 * SECONDS
  const counts = () => performance.now() >= begin + 1_000 * SETTLED_AFTER && performance.now() <= until
  return { begin, until, counts }
}

/** Sends requests at a constant rate. */
async function offer(ask, perSecond) {
  const { begin, until, counts } = period()
  const outcome = { numAsked: 0, numGood: 0, refusalMs: [], others: [] }
  const one = async () => {
    const called = performance.now()
    try {
      const { timings } = await ask()
      if (timings.ttftMs <= GOOD_MS && counts()) outcome.numGood++
    } catch (error) {
      if (error instanceof OverloadedError) outcome.refusalMs.push(performance.now() - called)
      else outcome.others.push(error)
    }
  }
  const all = []
  for (let now = begin; now < until; now = performance.now()) {
    const due = Math.floor(((now - begin) * perSecond) / 1_000)
    while (outcome.numAsked < due) {
      outcome.numAsked++
      all.push(one())
    }
    await sleep(1)
  }
  return { ...outcome, ended: Promise.all(all) }
}

/** The time until a question is accepted and gets its first token almost as early as on an idle engine. */
async function recovery(ask, aloneMs) {
  const begin = performance.now()
  for (;;) {
    const asked = performance.now()
    try {
      const { timings } = await ask()
      if (timings.ttftMs <= 1.5 * aloneMs) return asked - begin + timings.ttftMs
    } catch (error) {
      if (!(error instanceof OverloadedError)) throw error
      await sleep(error.retryAfterMs)
    }
  }
}

function summary(capacity, pairs) {
  const refusals = pairs.flatMap(({ floods }) => floods.refusalMs)
  return {
    capacity,
    numAsked: pairs.map(({ floods }) => floods.numAsked),
    numRefused: pairs.map(({ floods }) => floods.refusalMs.length),
    numFailed: pairs.flatMap(({ fits, floods }) => [...fits.others, ...floods.others]).length,
    refusalMs: { p50: median(refusals), p99: quantile(refusals, 0.99) },
    goodput: quartiles(pairs.map(({ fits, floods }) => floods.numGood / fits.numGood)),
    recoveryMs: quartiles(pairs.map(({ recoveryMs }) => recoveryMs)),
  }
}
