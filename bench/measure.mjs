// The measuring itself. Sides take turns at the same prompts, in another order each time, and a round goes through all
// numbers of concurrent prompts: whatever else the machine does meets everything that is compared alike.

import { readdirSync, readFileSync } from 'node:fs'
import { median } from './statistics.mjs'

const NUM_TOKENS = 64
/** Models that are over quickly get more rounds: they cost little there and say more. */
const MODEL_MS = 30_000
const MAX_ROUNDS = 25

/** What every side did, by number of concurrent prompts: a list of rounds for each. */
export async function measure(sides, { rows, minRounds, take, onRound }) {
  const letters = Object.keys(sides)
  const rounds = new Map(rows.map(count => [count, []]))
  const begin = performance.now()
  for (let done = -1; ; done++) {
    const isDue = done < minRounds || (performance.now() - begin < MODEL_MS && done < MAX_ROUNDS)
    if (!isDue) return rounds
    onRound(done + 1)
    const turn = (done + letters.length) % letters.length
    const order = [...letters.slice(turn), ...letters.slice(0, turn)]
    for (const count of rows) {
      const pair = await takeTurns(sides, order, take(count))
      // The first round warms everybody up.
      if (done >= 0) rounds.get(count).push(pair)
    }
  }
}

async function takeTurns(sides, letters, prompts) {
  const done = {}
  for (const letter of letters) done[letter] = await runOn(sides[letter], prompts)
  return done
}

async function runOn(side, prompts) {
  const before = cpuMs(side.pid)
  const { firstMs, totalMs, answers, scheduling } = await side.run({ prompts, numTokens: NUM_TOKENS })
  const numTokens = prompts.length * NUM_TOKENS
  return {
    totalMs,
    firstMs: median(firstMs),
    tokensPerSecond: (1000 * numTokens) / totalMs,
    cpuMsPerToken: (cpuMs(side.pid) - before) / numTokens,
    answers,
    // What the engine says of itself; others have nothing to say.
    scheduling,
  }
}

/** Processor time of a process's living threads, to the microsecond; where the system does not tell, not a number. */
function cpuMs(pid) {
  if (process.platform !== 'linux') return Number.NaN
  const tasks = `/proc/${pid}/task`
  const times = readdirSync(tasks).map(task => Number(readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ')[0]))
  return times.reduce((sum, ns) => sum + ns, 0) / 1e6
}
