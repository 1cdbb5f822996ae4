// The targets of the standard set and their verdicts. Against the bare device: what the engine costs one request at a time.
// Against the plain engine: what batching and shared answers gain.

import { atMost, goal } from '../goals.mjs'
import { quartiles } from '../statistics.mjs'
import { bareTimes } from './bare.mjs'

const MOST_OVERHEAD_PERCENT = 5
const MOST_ADDED_FIRST_MS = 5
const MOST_LOST_PERCENT = 1
const MOST_TOKEN_MS = 120
const BLOCK = 10
const [PROMPT_TOKENS, ANSWER_TOKENS] = [32, 50]

/**
 * The costs of the engine for one request at a time, as quartiles: per cent and ms over the bare device, of answers; and the
 * throughput lost against the plain engine in per cent, of blocks of questions that both were asked in turns.
 */
export function costs({ questions: { engine, plain } }) {
  const bare = bareTimes(PROMPT_TOKENS, ANSWER_TOKENS)
  const time = (answers, begin) => answers.slice(begin, begin + BLOCK).reduce((sum, { totalMs }) => sum + totalMs, 0)
  const blocks = Array.from({ length: Math.floor(engine.length / BLOCK) }, (_, n) => n * BLOCK)
  return {
    bare,
    overhead: quartiles(engine.map(({ totalMs }) => 100 * (totalMs / bare.totalMs - 1))),
    addedFirstMs: quartiles(engine.map(({ ttftMs }) => ttftMs - bare.firstMs)),
    lost: quartiles(blocks.map(begin => 100 * (1 - time(plain, begin) / time(engine, begin)))),
  }
}

/** The goals that the results of a device decide. MLX has no bare device here: `npm run bench:overhead` compares with one. */
export function goalsOf(result) {
  return [
    ...(result.device === 'simulated' ? costGoals(result) : []),
    ...result.loads.flatMap(load => loadGoals(result, load)),
  ]
}

function costGoals(result) {
  const { overhead, addedFirstMs, lost } = costs(result)
  const of = (what, most, measured) => goal(`50 questions: ${what}`, `≤ ${most}`, measured, value => value <= most)
  return [
    of('time of an answer over the bare device, %', MOST_OVERHEAD_PERCENT, overhead),
    of('first token later than on the bare device, ms', MOST_ADDED_FIRST_MS, addedFirstMs),
    of('throughput lost against the plain engine, %', MOST_LOST_PERCENT, lost),
  ]
}

function loadGoals({ device }, { name, least, ratio, numRefused, tokenP95 }) {
  const gain = goal(`${device}, ${name}: answers/s against plain`, `≥ ${least}`, ratio, value => value >= least)
  const pace = goal(
    `${device}, ${name}: time of an output token, ms p95`,
    `≤ ${MOST_TOKEN_MS}`,
    tokenP95.engine,
    value => value <= MOST_TOKEN_MS,
  )
  return [
    ...(least === undefined ? [] : [gain]),
    ...(name === '100 users' ? [pace] : []),
    atMost(`${device}, ${name}: requests that were refused`, 0, numRefused),
  ]
}
