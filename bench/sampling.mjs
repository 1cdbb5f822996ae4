// `npm run bench:sampling`: measures the cost of each sampling parameter. Compares greedy with one feature at a time and with
// all together, on the same engine and prompts, and each of these with mlx-lm under the same settings, in turns. Progress goes
// to stderr; the last line of stdout is one JSON object.

import { parseArgs } from 'node:util'
import { build } from '../tools/build/build.mjs'
import { main } from '../tools/build/failure.mjs'
import { environment, python } from '../tools/build/python.mjs'
import { at } from '../tools/build/repository.mjs'
import { bold } from '../tools/build/terminal.mjs'
import { goal } from './goals.mjs'
import { startSide } from './job.mjs'
import { measure } from './measure.mjs'
import { modelFolder, speakingFolder } from './models.mjs'
import { progress } from './progress.mjs'
import { printGoals, range, table } from './report.mjs'
import { closeSides } from './sides.mjs'
import { paired, rateRatio } from './statistics.mjs'

const FLAGS = {
  models: { type: 'string', default: 'demo,26m' },
  rows: { type: 'string', default: '1,8,32' },
  pairs: { type: 'string', default: '5' },
}
const SEEDED = { temperature: 0.8, seed: 1 }
const PENALTIES = { repetitionPenalty: 1.1, presencePenalty: 0.5, frequencyPenalty: 0.5 }
const BIAS = { logitBias: { 5: 1, 6: -1, 7: 2 } }
const LOGPROBS = { logprobs: 20 }
const CUTS = { topK: 40, topP: 0.95, minP: 0.05 }
/** A schema whose list is longer than any answer here, so that no answer ends early. mlx-lm has no constraints. */
const RECORD = { name: { type: 'string', maxLength: 20 }, value: { type: 'number' }, kind: { enum: ['a', 'b'] } }
const items = { type: 'object', properties: RECORD, required: ['name', 'value'], additionalProperties: false }
const GRAMMAR = { temperature: 0, structured: { schema: { type: 'array', items, minItems: 1000 } } }
const FEATURES = {
  greedy: { temperature: 0 },
  seed: SEEDED,
  'top-k': { ...SEEDED, topK: 40 },
  'top-p': { ...SEEDED, topP: 0.95 },
  'min-p': { ...SEEDED, minP: 0.05 },
  penalties: { temperature: 0, ...PENALTIES },
  'logit bias': { temperature: 0, ...BIAS },
  logprobs: { temperature: 0, ...LOGPROBS },
  /** All parameters that change how a token is sampled. */
  all: { ...SEEDED, ...CUTS, ...PENALTIES, ...BIAS },
}

await main(async () => {
  const { values } = parseArgs({ args: process.argv.slice(2), options: FLAGS, strict: true })
  await build()
  const interpreter = await python()
  const rows = values.rows.split(',').map(Number)
  const cells = []
  for (const model of values.models.split(',')) {
    const measured = await measureModel(model, interpreter, rows, Number(values.pairs))
    const grammar = await measureGrammar(model, interpreter, rows, Number(values.pairs))
    for (const [index, { ratios }] of measured.entries()) ratios.grammar = grammar[index]
    console.log(`\n${bold(model)}: tok/s against greedy, medians [quartiles] of interleaved runs`)
    table(measured.map(({ rows, ratios }) => ({ rows, ...mapped(ratios, range) })))
    console.log(`\n${bold(model)}: tok/s against mlx-lm with the same settings`)
    table(measured.map(({ rows, peers }) => ({ rows, ...mapped(peers, range) })))
    cells.push(...measured)
  }
  const due = cells.filter(({ model, rows }) => model === '26m' && rows === 8)
  const goals = due.flatMap(({ ratios }) => [
    goal('26m, 8 at once: all together / greedy', '≥ 0.9', ratios.all, it => it >= 0.9),
    goal('26m, 8 at once: grammar / greedy', '≥ 0.9', ratios.grammar, it => it >= 0.9),
  ])
  if (goals.length > 0) printGoals(goals)
  console.log(JSON.stringify({ date: new Date().toISOString(), cells, goals }))
})

async function measureModel(model, interpreter, rows, pairs) {
  const { promptsFor } = await import('./prompts.mjs')
  const folder = await modelFolder(model, interpreter)
  const take = await promptsFor(model)
  const engine = await startSide(process.execPath, [at('bench', 'engine_side.mjs'), folder], environment)
  const peer = await startSide(interpreter, [at('bench', 'mlx_lm_side.py'), folder], environment)
  const sides = {}
  for (const [name, params] of Object.entries(FEATURES)) {
    sides[name] = { pid: engine.pid, run: job => engine.run({ ...job, params }) }
    sides[peerOf(name)] = { pid: peer.pid, run: job => peer.run({ ...job, params }) }
  }
  const onRound = round => progress(`${model}: round ${round}${round === 0 ? ', to warm up' : ''}`)
  try {
    const rounds = await measure(sides, { rows, minRounds: pairs, take, onRound })
    return rows.map(count => {
      const against = (name, other) => paired(rounds.get(count), [name, other], rateRatio)
      const { greedy: _, ...ratios } = mapped(FEATURES, (_, name) => against(name, 'greedy'))
      const peers = mapped(FEATURES, (_, name) => against(name, peerOf(name)))
      return { model, rows: count, ratios, peers }
    })
  } finally {
    await closeSides({ engine, peer })
  }
}

/** A schema compared with no constraint, with a vocabulary that can write JSON. */
async function measureGrammar(model, interpreter, rows, pairs) {
  const { promptsFor } = await import('./prompts.mjs')
  const folder = await speakingFolder(model, interpreter)
  const take = await promptsFor('demo')
  const engine = await startSide(process.execPath, [at('bench', 'engine_side.mjs'), folder], environment)
  const side = params => ({ pid: engine.pid, run: job => engine.run({ ...job, params }) })
  const sides = { greedy: side({ temperature: 0 }), grammar: side(GRAMMAR) }
  const onRound = round => progress(`${model}, grammar: round ${round}${round === 0 ? ', to warm up' : ''}`)
  try {
    const rounds = await measure(sides, { rows, minRounds: pairs, take, onRound })
    return rows.map(count => paired(rounds.get(count), ['grammar', 'greedy'], rateRatio))
  } finally {
    await closeSides({ engine })
  }
}

/** The name of mlx-lm's side with the same settings. */
function peerOf(name) {
  return `mlx-lm ${name}`
}

/** An object with the same keys and other values. */
function mapped(object, change) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value, key)]))
}
