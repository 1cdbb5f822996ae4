// Runs a few cells of the simulation in real time: the same closed loop through JavaScript and the addon, on the simulated
// device with the operating system's clock. Shows that the parts that the simulation leaves out do not matter.

import { createEngine } from '../../dist/index.mjs'

export const PROFILE = 'm3-max/llama-3.2-3b-4bit'
const PROMPT_TOKENS = 32
/** The smallest length of an answer, and the length below which it stays. */
const ANSWER_TOKENS = [25, 75]
const SECONDS = 10

/** For each simulated number of users: the results in real time and in the simulation. */
export async function sampleRealTime(cells) {
  const prompts = await longPrompts()
  const sample = []
  for (const cell of cells.filter(({ workload, profile }) => workload === 'real time' && profile === PROFILE)) {
    const { tokensPerSecond, ttftMs } = await closedLoop(prompts, cell.load)
    const { served } = cell.report
    sample.push({
      users: cell.load,
      rate: { real: tokensPerSecond, simulated: served.tokensPerSecond },
      ttft: { real: mean(ttftMs), simulated: served.meanTtftMs },
    })
  }
  return sample
}

/** On a new engine, which learns step times as in the simulation. */
async function closedLoop(prompts, numUsers) {
  const engine = await createEngine({ backend: { simulated: PROFILE } })
  const model = await engine.loadModel()
  const ttftMs = []
  let numTokens = 0
  const begin = performance.now()
  const user = async number => {
    // Users start one after another, as in the simulation.
    await new Promise(resolve => setTimeout(resolve, (1000 * number) / numUsers))
    for (let turn = 0; performance.now() - begin < 1_000 * SECONDS; turn++) {
      const prompt = prompts[(number + turn * numUsers) % prompts.length]
      const maxTokens = lengthOf(number, turn)
      const { timings, usage } = await engine.generate({ model, prompt, maxTokens, temperature: 0, cache: 'off' })
      ttftMs.push(timings.ttftMs)
      numTokens += usage.outputTokens
    }
  }
  await Promise.all(Array.from({ length: numUsers }, (_, number) => user(number)))
  const seconds = (performance.now() - begin) / 1000
  await engine.dispose()
  return { ttftMs, tokensPerSecond: numTokens / seconds }
}

/** The length of a user's n-th answer, as in `traffic.rs`. */
function lengthOf(user, turn) {
  const [from, below] = ANSWER_TOKENS
  return from + ((17 * user + 29 * turn) % (below - from))
}

const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length

/** Prompts with long enough answers of the simulated model, found on a device that takes no time. */
export async function longPrompts() {
  const engine = await createEngine({ backend: { simulated: 'instant' } })
  const model = await engine.loadModel()
  const found = []
  const [, maxTokens] = ANSWER_TOKENS
  for (let first = 5; found.length < 64; first++) {
    const prompt = { tokens: Array.from({ length: PROMPT_TOKENS }, (_, place) => 5 + ((first + place * place) % 200)) }
    const { tokens } = await engine.generate({ model, prompt, maxTokens, temperature: 0 })
    if (tokens.length === maxTokens) found.push(prompt)
  }
  await engine.dispose()
  return found
}
