// Checks of an engine that has nothing to do: its counters add up, nothing is left of its requests, and it accepts as many
// requests as at its start.

import { pause } from './ways.mjs'

const AT_REST = ['preparing', 'queued', 'running', 'joined', 'parked', 'kvBytes']
const REST_MS = 60_000
/** Places that are reserved for refused callers are given back within this time. */
const RESERVED_MS = 20_000

/**
 * Waits until no request and no KV is left; clears the prefix cache if only its KV is left. Returns a list: empty, or with a
 * sentence about what is left after the time limit.
 */
export async function comesToRest(engine) {
  const until = performance.now() + REST_MS
  for (;;) {
    const stats = engine.stats()
    const rest = AT_REST.filter(name => stats[name] !== 0)
    if (rest.length === 0) return []
    if (`${rest}` === 'kvBytes') engine.cache.clear()
    if (performance.now() > until) return [`not at rest: ${rest.map(name => `${name} ${stats[name]}`).join(', ')}`]
    await pause(5)
  }
}

const sum = parts => Object.values(parts).reduce((total, part) => total + part, 0)

/** What does not add up in the counters of an engine at rest. `numCompleted`: answers that its callers got. */
export function imbalances(stats, numCompleted) {
  const { submitted, completed, cancelled, failed, rejected, errors } = stats
  const refused = sum(rejected)
  const ended = completed + cancelled + failed + refused
  const { Overloaded = 0, CircuitOpen = 0, ...others } = errors
  const found = []
  if (submitted !== ended) found.push(`${submitted} requests submitted, ${ended} ended`)
  if (Overloaded + CircuitOpen !== refused)
    found.push(`${refused} requests refused, ${Overloaded + CircuitOpen} in errors`)
  if (sum(others) !== failed) found.push(`${failed} requests failed, ${sum(others)} in errors`)
  if (completed < numCompleted) found.push(`${completed} answers completed, callers got ${numCompleted}`)
  return found
}

/** What is wrong in the reports of the events of an engine that was shut down. */
export function unreported({ open, states, wrong }) {
  const found = [...wrong]
  if (open.size > 0) found.push(`no event of the end of ${open.size} generations`)
  if (`${states}` !== 'ready,draining,stopped') found.push(`the states of an engine were ${states}`)
  return found
}

/**
 * Fills every place at once, with streams that stop reading after one chunk: they keep their places, unless a step fails. If
 * fewer than `maxPending` are accepted, a permit is lost.
 */
export async function lostPermits({ engine, model }, maxPending) {
  const until = performance.now() + RESERVED_MS
  const params = { model, maxTokens: 600, ignoreEos: true, cache: 'off' }
  for (;;) {
    const before = sum(engine.stats().rejected)
    const reads = []
    const all = Array.from({ length: maxPending + 1 }, (_, n) => {
      const generation = engine.generate({ ...params, prompt: `Place ${n}` })
      // At once: an answer is held back only once its reading has begun.
      reads.push(generation[Symbol.asyncIterator]().next())
      return generation
    })
    const numRefused = sum(engine.stats().rejected) - before
    await Promise.allSettled(reads)
    for (const one of all) one.cancel()
    if (numRefused === 1) return comesToRest(engine)
    if (performance.now() > until) {
      return [`${numRefused} of ${maxPending + 1} requests at once were refused, in place of 1`]
    }
    await pause(2_000)
  }
}
