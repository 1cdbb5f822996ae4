// The short form of `npm run soak`: every way of using the engine on a simulated device and on MLX, with failures, loads, engines
// and workers that end. Nothing may be left over. A run with a leak must fail.

import { describe, expect, test } from 'vitest'
// @ts-expect-error: a script without types
import { runSoak } from '../bench/soak/run.mjs'
// @ts-expect-error: a script without types
import { slopeOf } from '../bench/soak/statistics.mjs'
// @ts-expect-error: a script without types
import { verdictsOf } from '../bench/soak/verdicts.mjs'

interface Verdict {
  what: string
  measured: string
  verdict: 'met' | 'open' | 'missed'
}

const quietly = () => {}
const run = async (plan: object) => {
  const record = await runSoak({ hours: 8, seed: 3, leakBytes: 0, ...plan }, quietly)
  const verdicts: Verdict[] = verdictsOf(record)
  return { record, missed: verdicts.filter(({ verdict }) => verdict === 'missed') }
}
const LIMIT = { timeout: 180_000 }

describe.each([
  { kind: 'simulated', requestsPerHour: 300 },
  { kind: 'mlx', requestsPerHour: 100 },
])('a short soak ($kind)', plan => {
  test.concurrent('leaves nothing behind, and each call ends in an expected way', LIMIT, async () => {
    const { record, missed } = await run(plan)
    expect(record.violations).toEqual([])
    expect(missed).toEqual([])
    expect(record.samples.length).toBe(8)
    // The short form uses each way at least once.
    const { endings } = record as { endings: Record<string, Record<string, number>> }
    expect(Object.keys(endings).length).toBeGreaterThanOrEqual(24)
    expect(endings.awaited?.completed).toBeGreaterThan(0)
    expect(endings.burst?.completed).toBeGreaterThan(0)
  })
})

test.concurrent('a leak is found', LIMIT, async () => {
  const { missed } = await run({ kind: 'simulated', requestsPerHour: 100, leakBytes: 300_000 })
  expect(missed.map(({ what }) => what)).toEqual(['simulated: growth of resident memory, MiB'])
})

test.concurrent('a process that crashes misses its goals', async () => {
  const { record, missed } = await run({ kind: 'unknown', requestsPerHour: 1 })
  expect(record.exit).toBe('exit code 1')
  expect(missed.map(({ what }) => what)).toEqual(['unknown: end of the process'])
})

test('the slope of a line does not depend on outliers', () => {
  const points = Array.from({ length: 40 }, (_, x) => [x, x % 9 === 4 ? 10_000 : 3 * x + (x % 3)])
  const { low, slope, high } = slopeOf(points)
  expect(slope).toBe(3)
  expect(low).toBeGreaterThan(2.5)
  expect(high).toBeLessThan(3.5)
  // The confidence interval of a flat noise has 0 in it.
  const flat = slopeOf(Array.from({ length: 40 }, (_, x) => [x, (7 * x) % 11]))
  expect(flat.low).toBeLessThan(0)
  expect(flat.high).toBeGreaterThan(0)
})
