// Ten times as many requests as the device can serve, in real time through JavaScript and the addon: how fast a refusal is,
// what it costs those who were accepted, and how soon everything is as before. Callers who are refused do not come again.

import { setTimeout as sleep } from 'node:timers/promises'
import { createEngine, OverloadedError } from '../../dist/index.mjs'
import { median, quantile, quartiles } from '../statistics.mjs'
import { longPrompts, PROFILE } from './real_time.mjs'

/** One row for each place of the widest batch, and half as many that wait. */
const MAX_QUEUE = 48
const MAX_TOKENS = 50
/** A load lasts so long; answers count once it has settled. */
const SECONDS = 10
const SETTLED_AFTER = 4
const PAIRS = 3
/** An answer is good if its first token came so soon. */
const GOOD_MS = 2_000
const OVERLOAD = 10

/** Loads of one and ten times what the device can serve, in turns on one engine. */
export async function sampleOverload() {
  const prompts = await longPrompts()
  const engine = await createEngine({ backend: { simulated: PROFILE }, scheduler: { maxQueue: MAX_QUEUE } })
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
  await Promise.all(Array.from({ length: MAX_QUEUE }, user))
  return ended / (SECONDS - SETTLED_AFTER)
}

/** From now on for as long as a load lasts; whether what ends at this moment counts. */
function period() {
  const begin = performance.now()
  const until = begin + 1_000 * SECONDS
  const counts = () => performance.now() >= begin + 1_000 * SETTLED_AFTER && performance.now() <= until
  return { begin, until, counts }
}

/** So many requests a second, at even distances. */
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

/** How long it takes until a question is accepted and has its first token nearly as soon as on an idle engine. */
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
