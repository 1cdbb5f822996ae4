// Measures sides in rounds. Sides take turns at the same prompts, in another order each time, and a round goes through all
// numbers of concurrent prompts. So other work on the machine affects all compared values alike.

import { readdirSync, readFileSync } from 'node:fs'
import { median } from './statistics.mjs'

const NUM_TOKENS = 64
/** Fast models get more rounds within this time: their values vary more. */
const MODEL_MS = 30_000
const MAX_ROUNDS = 25

/** The results of all sides: a list of rounds for each number of concurrent prompts. */
export async function measure(sides, { rows, minRounds, take, onRound, numTokens = NUM_TOKENS, modelMs = MODEL_MS }) {
  const letters = Object.keys(sides)
  const rounds = new Map(rows.map(count => [count, []]))
  const begin = performance.now()
  for (let done = -1; ; done++) {
    const isDue = done < minRounds || (performance.now() - begin < modelMs && done < MAX_ROUNDS)
    if (!isDue) return rounds
    onRound(done + 1)
    const turn = (done + letters.length) % letters.length
    const order = [...letters.slice(turn), ...letters.slice(0, turn)]
    for (const count of rows) {
      const pair = await takeTurns(sides, order, { prompts: take(count), numTokens })
      // The first round only warms up.
      if (done >= 0) rounds.get(count).push(pair)
    }
  }
}

async function takeTurns(sides, letters, job) {
  const done = {}
  for (const letter of letters) done[letter] = await runOn(sides[letter], job)
  return done
}

async function runOn(side, job) {
  const before = cpuMs(side.pid)
  const { firstMs, totalMs, answers, scheduling } = await side.run(job)
  const numTokens = job.prompts.length * job.numTokens
  return {
    totalMs,
    firstMs: median(firstMs),
    tokensPerSecond: (1000 * numTokens) / totalMs,
    cpuMsPerToken: (cpuMs(side.pid) - before) / numTokens,
    answers,
    // The engine's figures about itself; other sides have none.
    scheduling,
  }
}

/** Processor time of a process's living threads in milliseconds; NaN on systems without /proc. */
function cpuMs(pid) {
  if (process.platform !== 'linux') return Number.NaN
  const tasks = `/proc/${pid}/task`
  return readdirSync(tasks).reduce((sum, task) => sum + taskNs(`${tasks}/${task}/schedstat`), 0) / 1e6
}

/** Processor time of a thread, which may have ended. */
function taskNs(file) {
  try {
    return Number(readFileSync(file, 'utf8').split(' ')[0])
  } catch {
    return 0
  }
}
