// Runs the workloads on two engines that stay open and take turns: one with default options, and a plain one.

import mlxServing from '../../dist/index.js'
import { progress } from '../progress.mjs'
import { quantile, quartiles } from '../statistics.mjs'
import { LOADS, questions } from './workloads.mjs'

const off = { enabled: false }
const PLAIN = { scheduler: { enabled: false }, cache: { coalescing: off, dedup: off, promptCache: off } }
const BACKENDS = { simulated: { simulated: 'm3-max/llama-3.2-3b-4bit' }, mlx: 'mlx' }
/** A tiny model answers in milliseconds; it gets more rounds. */
const MORE_ROUNDS = { simulated: 1, mlx: 3 }

/** The results of a device: both sides' answers to the questions, and the pairs of each load. */
export async function measureDevice(device, numPairs) {
  const sides = {}
  for (const [side, options] of Object.entries({ engine: {}, plain: PLAIN })) {
    const engine = await mlxServing.createEngine({ backend: BACKENDS[device], ...options })
    sides[side] = { engine, model: await engine.loadModel() }
  }
  try {
    const asked = await askQuestions(device, sides)
    const loads = []
    for (const load of LOADS) loads.push(await measureLoad(device, sides, load, MORE_ROUNDS[device] * numPairs))
    return { device, questions: asked, loads }
  } finally {
    await Promise.all(Object.values(sides).map(({ engine }) => engine.dispose()))
  }
}

/** Each question on both sides, one after the other, and the first side alternates. */
async function askQuestions(device, sides) {
  const answers = { engine: [], plain: [] }
  for (let round = 0; round < MORE_ROUNDS[device]; round++) {
    progress(`${device}: 50 questions`)
    // The first one warms up.
    for (const side of Object.values(sides)) await request(side, questions(900)[0])
    for (const [n, question] of questions(round).entries()) {
      for (const side of n % 2 ? ['plain', 'engine'] : ['engine', 'plain']) {
        answers[side].push(await request(sides[side], question))
      }
    }
  }
  return answers
}

async function measureLoad(device, sides, { name, what, least, run }, numPairs) {
  const pairs = []
  for (let round = 0; round < numPairs; round++) {
    progress(`${device}: ${name}, round ${round + 1} of ${numPairs}`)
    const pair = {}
    for (const side of round % 2 ? ['plain', 'engine'] : ['engine', 'plain']) {
      sides[side].engine.cache.clear()
      pair[side] = await runLoad(sides[side], run, round)
    }
    pairs.push(pair)
  }
  return { name, what, least, ...summary(pairs), pairs }
}

async function runLoad(side, run, round) {
  const begin = performance.now()
  const outcomes = []
  const ask = async (params, group) => {
    const asked = performance.now() - begin
    const outcome = await request(side, params)
    outcomes.push({ ...outcome, group, askedMs: asked, endedMs: performance.now() - begin })
  }
  await run(ask, round)
  return { seconds: (performance.now() - begin) / 1000, outcomes }
}

/** One request. A refusal is an outcome as well; any other error ends the benchmark. */
async function request({ engine, model }, params) {
  const begin = performance.now()
  try {
    const { timings, usage } = await engine.generate({ model, temperature: 0, ignoreEos: true, ...params })
    const { ttftMs, decodeMs } = timings
    const { outputTokens } = usage
    return { ttftMs, totalMs: performance.now() - begin, outputTokens, tokenMs: decodeMs / (outputTokens - 1) }
  } catch (error) {
    if (error.code !== 'Overloaded') throw error
    return { refused: error.code }
  }
}

/** Quartiles over the pairs. Rates count answers a second; of a spike, only its own requests. */
function summary(pairs) {
  const served = ({ outcomes }) => outcomes.filter(({ refused }) => refused === undefined)
  const counted = side => served(side).filter(({ group }) => group !== 'steady')
  const rate = side => {
    const own = counted(side)
    return own.length / ((Math.max(...own.map(one => one.endedMs)) - Math.min(...own.map(one => one.askedMs))) / 1000)
  }
  const of = (side, value) => quartiles(pairs.map(pair => value(pair[side])))
  const p95 = (side, value) => of(side, one => quantile(served(one).map(value), 0.95))
  const both = value => ({ engine: value('engine'), plain: value('plain') })
  return {
    numRequests: pairs.reduce((sum, { engine }) => sum + engine.outcomes.length, 0),
    numRefused: pairs.flatMap(({ engine }) => engine.outcomes).filter(({ refused }) => refused !== undefined).length,
    rate: both(side => of(side, rate)),
    ratio: quartiles(pairs.map(({ engine, plain }) => rate(engine) / rate(plain))),
    ttftP95: both(side => p95(side, one => one.ttftMs)),
    tokenP95: both(side => p95(side, one => one.tokenMs)),
  }
}
