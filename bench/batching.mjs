// `npm run bench:batching`: measures what batching gains on a real model, what it costs the engine, and what reproducibility
// costs. It runs the same engine with 1 to 32 concurrent prompts, with and without deterministic products; decisions with 256
// running and 10,000 waiting sequences; the recording of statistics; the engine's own work in a step without thread wakes; a bare
// thread wake; and an idle engine. Progress goes to stderr; the last line of stdout is JSON.

import { parseArgs } from 'node:util'
import { build } from '../tools/build/build.mjs'
import { quiet } from '../tools/build/command.mjs'
import { main } from '../tools/build/failure.mjs'
import { environment, python } from '../tools/build/python.mjs'
import { at } from '../tools/build/repository.mjs'
import { bold } from '../tools/build/terminal.mjs'
import { atMost, goal } from './goals.mjs'
import { startSide } from './job.mjs'
import { measure } from './measure.mjs'
import { DEMO, modelFolder } from './models.mjs'
import { progress } from './progress.mjs'
import { printGoals, range, table } from './report.mjs'
import { closeSides, runBench } from './sides.mjs'
import { paired, quartiles, rateRatio } from './statistics.mjs'

const ROWS = [1, 2, 4, 8, 16, 32]
const FLAGS = {
  models: { type: 'string', default: 'demo,26m' },
  pairs: { type: 'string', default: '5' },
  idle: { type: 'string', default: '60' },
}
/** By rows. */
const MOST_MICROS_PER_STEP = { 1: 20, 32: 60 }
/** By side: the engine with default options, and with deterministic products. */
const SIDES = { b: {}, d: { scheduler: { deterministic: true } } }

await main(async () => {
  const { values } = parseArgs({ args: process.argv.slice(2), options: FLAGS, strict: true })
  await build()
  const interpreter = await python()
  const cells = []
  for (const model of values.models.split(','))
    cells.push(...(await measureModel(model, interpreter, Number(values.pairs))))
  const alone = await measureAlone(Number(values.pairs))
  progress('decisions')
  const decisions = await runBench('decisions')
  progress('recording')
  const recording = await runBench('recording')
  progress('a bare thread wake')
  const bareWake = await runBench('bare_wake')
  progress(`an idle engine, for ${values.idle} s`)
  const idle = JSON.parse(await quiet(process.execPath, [at('bench', 'idle.mjs'), values.idle]))
  for (const model of new Set(cells.map(cell => cell.model))) {
    console.log(`\n${bold(model)}: medians [quartiles] of interleaved runs`)
    table(cells.filter(cell => cell.model === model).map(row))
  }
  const own = alone.map(
    ({ tokensPerStep, engineMicrosPerStep }) => `${engineMicrosPerStep.toFixed(1)} at ${tokensPerStep.toFixed(1)} rows`,
  )
  console.log(`\nEngine, µs a step, over a device that takes no time: ${own.join(', ')}.`)
  console.log(
    `A bare thread that sleeps, wakes another and reads its processor time: at least ${bareWake.step.toFixed(1)} µs a step.`,
  )
  const goals = [...goalsOf(cells), ...overallGoals(decisions, recording, idle)]
  printGoals(goals)
  console.log(
    JSON.stringify({ date: new Date().toISOString(), cells, alone, decisions, recording, bareWake, idle, goals }),
  )
})

async function measureModel(model, interpreter, pairs) {
  const folder = await modelFolder(model, interpreter)
  const rounds = await measureSides(SIDES, { model, folder, rows: ROWS, pairs, title: model })
  return ROWS.map(rows => cellOf(model, rows, rounds.get(rows), rounds.get(1)))
}

/**
 * The engine's own time a step over a device that takes no time: no thread sleeps, and the processor's caches stay warm.
 * Early answers end before the last ones start, so the actual number of rows of a step is counted.
 */
async function measureAlone(pairs) {
  const rows = Object.keys(MOST_MICROS_PER_STEP).map(Number)
  const sides = { b: { backend: { simulated: 'instant' } } }
  const title = 'a device that takes no time'
  const rounds = await measureSides(sides, { model: 'demo', folder: DEMO, rows, pairs, title })
  return [...rounds.values()].map(costsOf)
}

/** Measures sides, given by letter with the options of their engines. */
async function measureSides(options, { model, folder, rows, pairs, title }) {
  const { promptsFor } = await import('./prompts.mjs')
  const take = await promptsFor(model)
  const sides = {}
  for (const [letter, its] of Object.entries(options)) {
    const args = [at('bench', 'engine_side.mjs'), folder, JSON.stringify(its)]
    sides[letter] = await startSide(process.execPath, args, environment)
  }
  const onRound = round => progress(`${title}: round ${round}${round === 0 ? ', to warm up' : ''}`)
  try {
    return await measure(sides, { rows, minRounds: pairs, take, onRound })
  } finally {
    await closeSides(sides)
  }
}

function cellOf(model, rows, pairs, alone) {
  return {
    model,
    rows,
    numPairs: pairs.length,
    tokensPerSecond: quartiles(pairs.map(pair => pair.b.tokensPerSecond)),
    firstMs: quartiles(pairs.map(pair => pair.b.firstMs)),
    /** Compared with one prompt alone in the same round. */
    speedUp: quartiles(pairs.map((pair, round) => rateRatio(pair.b, alone[round].b))),
    deterministic: paired(pairs, ['d', 'b'], rateRatio),
    ...costsOf(pairs),
  }
}

/** For each step: the engine thread's own time and the number of tokens. Also the share of time in which the device waited. */
function costsOf(pairs) {
  const sum = of => pairs.reduce((total, { b }) => total + of(b), 0)
  const numSteps = sum(b => b.scheduling.steps)
  return {
    tokensPerStep: sum(b => b.answers.flat().length) / numSteps,
    engineMicrosPerStep: (1_000 * sum(b => b.scheduling.engineMs)) / numSteps,
    deviceIdleShare: sum(b => b.scheduling.deviceIdleMs) / sum(b => b.totalMs),
    longestDeviceIdleMs: Math.max(...pairs.map(({ b }) => b.scheduling.longestDeviceIdleMs)),
    batchLimit: pairs.at(-1).b.scheduling.batchLimit,
  }
}

function row({ rows, numPairs, tokensPerSecond, firstMs, speedUp, deterministic, ...costs }) {
  return {
    rows,
    pairs: numPairs,
    'tok/s': tokensPerSecond[1].toFixed(0),
    'first ms': firstMs[1].toFixed(1),
    'against 1 row': range(speedUp),
    'deterministic / not': range(deterministic),
    'engine µs/step': costs.engineMicrosPerStep.toFixed(1),
    'device idle': `${(100 * costs.deviceIdleShare).toFixed(1)} %`,
    'batch limit': costs.batchLimit,
  }
}

function goalsOf(cells) {
  const growth = cells.filter(({ model, rows }) => model === '26m' && rows === 8)
  const crowded = cells.filter(({ rows }) => rows === 32)
  return [
    ...growth.map(({ speedUp }) => goal('26m, 8 at once: tok/s against 1', '≥ 4', speedUp, ratio => ratio >= 4)),
    ...crowded.map(({ model, deterministic }) =>
      goal(`${model}, 32 at once: deterministic / not`, '≥ 0.9', deterministic, ratio => ratio >= 0.9),
    ),
    ...cells
      .filter(({ rows }) => rows in MOST_MICROS_PER_STEP)
      .map(({ model, rows, engineMicrosPerStep }) =>
        atMost(`${model}, ${rows} at once: engine thread, µs a step`, MOST_MICROS_PER_STEP[rows], engineMicrosPerStep),
      ),
    ...cells.map(({ model, rows, deviceIdleShare }) =>
      atMost(`${model}, ${rows} at once: device idle with work waiting, %`, 1, 100 * deviceIdleShare),
    ),
    ...crowded.map(({ model }) => {
      const longest = cells.filter(cell => cell.model === model).map(cell => cell.longestDeviceIdleMs)
      return atMost(`${model}: longest device idle, ms`, 0.5, Math.max(...longest))
    }),
  ]
}

function overallGoals(decisions, recording, idle) {
  return [
    atMost(`decision p99 at ${decisions.running} running and ${decisions.queued} waiting, µs`, 100, decisions.p99),
    ...['token', 'step', 'request'].map(what => atMost(`recording a ${what}, ns`, 1_000, recording[what])),
    atMost(`${idle.seconds} s of an idle engine: CPU ms`, (5 * idle.seconds) / 60, idle.cpuMs),
  ]
}
