// One cell of the comparison: a model, a number of concurrent prompts. Sides take turns at the same prompts, in another
// order each time, so that whatever else the machine does meets all of them alike.

import { readdirSync, readFileSync } from 'node:fs'
import { median } from './statistics.mjs'

const NUM_TOKENS = 64
/** Cells that are over quickly are repeated: more pairs cost little there and say more. */
const CELL_MS = 6000
const MAX_PAIRS = 25

/** The pairs of a cell: for each, what every side did. */
export async function measureCell(sides, { rows, minPairs, take }) {
  const letters = Object.keys(sides)
  await round(sides, letters, take(rows))
  const pairs = []
  const begin = performance.now()
  const isDue = () => pairs.length < minPairs || (performance.now() - begin < CELL_MS && pairs.length < MAX_PAIRS)
  while (isDue()) {
    const turn = pairs.length % letters.length
    pairs.push(await round(sides, [...letters.slice(turn), ...letters.slice(0, turn)], take(rows)))
  }
  return pairs
}

async function round(sides, letters, prompts) {
  const done = {}
  for (const letter of letters) done[letter] = await runOn(sides[letter], prompts)
  return done
}

async function runOn(side, prompts) {
  const before = cpuMs(side.pid)
  const { firstMs, totalMs, answers } = await side.run({ prompts, numTokens: NUM_TOKENS })
  const numTokens = prompts.length * NUM_TOKENS
  return {
    firstMs: median(firstMs),
    tokensPerSecond: (1000 * numTokens) / totalMs,
    cpuMsPerToken: (cpuMs(side.pid) - before) / numTokens,
    answers,
  }
}

/** Processor time of a process's living threads, to the microsecond; where the system does not tell, not a number. */
function cpuMs(pid) {
  if (process.platform !== 'linux') return Number.NaN
  const tasks = `/proc/${pid}/task`
  const times = readdirSync(tasks).map(task => Number(readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ')[0]))
  return times.reduce((sum, ns) => sum + ns, 0) / 1e6
}
