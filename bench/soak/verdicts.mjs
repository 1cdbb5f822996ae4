// The goals of a soak and their verdicts. `missed` is a failure. `open`: the process is too noisy for this number of requests to
// decide; a longer soak decides.

import { median } from '../statistics.mjs'
import { slopeOf } from './statistics.mjs'

/** The first part of the samples: caches, pools and compiled code reach their size. */
const WARM_UP = 1 / 2
const LEAST_SAMPLES = 4
const MOST_KIB_PER_1000 = 1
/** Of fewer requests the noise is larger than the goal. */
const LEAST_REQUESTS = 50_000
const MOST_MIB = 24

/** The verdicts of a record of run.mjs. */
export function verdictsOf({ plan, samples, numViolations, exit }) {
  const settled = samples.slice(Math.floor(WARM_UP * samples.length))
  return [
    {
      what: `${plan.kind}: end of the process`,
      bound: 'ended',
      measured: exit,
      verdict: exit === 'ended' ? 'met' : 'missed',
    },
    {
      what: `${plan.kind}: violations`,
      bound: '0',
      measured: `${numViolations}`,
      verdict: numViolations === 0 ? 'met' : 'missed',
    },
    ...(settled.length < LEAST_SAMPLES ? [] : [memory(plan, settled), ...counts(plan, settled)]),
  ]
}

function memory({ kind }, settled) {
  const numRequests = settled.at(-1).requests - settled[0].requests
  return numRequests < LEAST_REQUESTS ? growth(kind, settled) : slope(kind, settled)
}

/** Too few requests for a slope: only large leaks show. */
function growth(kind, settled) {
  const [before, after] = halves(settled, ({ rss }) => rss / 2 ** 20)
  return {
    what: `${kind}: growth of resident memory, MiB`,
    bound: `≤ ${MOST_MIB}`,
    measured: (after - before).toFixed(1),
    verdict: after - before <= MOST_MIB ? 'met' : 'missed',
  }
}

function slope(kind, settled) {
  const { low, slope, high } = slopeOf(settled.map(({ requests, rss }) => [requests, (1000 * rss) / 1024]))
  const [middle, from, to] = [slope, low, high].map(value => value.toFixed(2))
  return {
    what: `${kind}: growth of resident memory, KiB per 1,000 requests`,
    bound: `≤ ${MOST_KIB_PER_1000}`,
    measured: `${middle} [${from} to ${to}]`,
    verdict: slope <= MOST_KIB_PER_1000 ? 'met' : low <= MOST_KIB_PER_1000 ? 'open' : 'missed',
  }
}

/**
 * What the system counts, and how many more there may be. Pools keep as many threads as ever worked at the same time, and MLX has
 * one more for each: a coincidence that comes late, such as three loads at once, adds some. A leak adds one for each of many ends.
 */
const COUNTED = [
  { field: 'descriptors', what: 'file descriptors', most: 0 },
  { field: 'threads', what: 'threads', most: 8 },
]

/** No more at the end than before, where the system tells. */
function counts({ kind }, settled) {
  return COUNTED.filter(({ field }) => settled[0][field] !== undefined).map(({ field, what, most }) => {
    const [before, after] = halves(settled, sample => sample[field])
    return {
      what: `${kind}: ${what}, before and after`,
      bound: `≤ ${most} more`,
      measured: `${before}, ${after}`,
      verdict: after - before <= most ? 'met' : 'missed',
    }
  })
}

/** The medians of both halves of the samples. */
function halves(samples, value) {
  const half = Math.floor(samples.length / 2)
  return [samples.slice(0, half), samples.slice(half)].map(part => median(part.map(value)))
}
