// `npm run bench:real`: compares the engine on a real model, SmolLM2-135M-Instruct at 4 bits, with mlx-lm and node-llama-cpp.
// All sides use one thread and take turns at the same prompts. On a CPU mlx-lm runs the same weights in float32, because it
// needs seconds for each token with half-precision scales. Progress goes to stderr; the last line of stdout is one JSON object.

import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from '../tools/build/build.mjs'
import { quiet } from '../tools/build/command.mjs'
import { main } from '../tools/build/failure.mjs'
import { environment, python } from '../tools/build/python.mjs'
import { at } from '../tools/build/repository.mjs'
import { bold, dim } from '../tools/build/terminal.mjs'
import { denseFolder, ggufFile, quantizedFolder } from '../tools/real-model/model.mjs'
import { cached } from './cache.mjs'
import { goal } from './goals.mjs'
import { startSide } from './job.mjs'
import { measure } from './measure.mjs'
import { progress } from './progress.mjs'
import { printGoals, range, table } from './report.mjs'
import { closeSides } from './sides.mjs'
import { addedFirstMs, median, paired, rateRatio } from './statistics.mjs'

const FLAGS = {
  rows: { type: 'string', default: '1,4,8' },
  pairs: { type: 'string', default: '5' },
}
const PEERS = { lm: 'mlx-lm, float32', cpp: 'node-llama-cpp' }
const PEER_VERSION = '3.22.0'
const LEAST_RATIO = 1.5

await main(async () => {
  const { values } = parseArgs({ args: process.argv.slice(2), options: FLAGS, strict: true })
  await build()
  const rows = values.rows.split(',').map(Number)
  const rounds = await measured(rows, Number(values.pairs))
  const cells = rows.map(count => cell(count, rounds.get(count)))
  console.log(`\n${bold('SmolLM2-135M-Instruct, 4 bits')}: 32 prompt and 64 answer tokens, medians [quartiles]`)
  table(cells.map(shown))
  console.log(dim('Ratios are mlx-serving / peer, pair by pair.'))
  const due = cells.filter(({ rows }) => rows === 4 || rows === 8)
  const goals = due.map(({ rows, ratios }) =>
    goal(`${rows} at once: tok/s / node-llama-cpp`, `≥ ${LEAST_RATIO}`, ratios.cpp, it => it >= LEAST_RATIO),
  )
  if (goals.length > 0) printGoals(goals)
  console.log(JSON.stringify({ date: new Date().toISOString(), cells, goals }))
})

async function measured(rows, pairs) {
  const sides = await openSides()
  const { promptsFor } = await import('./prompts.mjs')
  const take = await promptsFor('real', await quantizedFolder())
  const onRound = round => progress(`round ${round}${round === 0 ? ', to warm up' : ''}`)
  try {
    return await measure(sides, { rows, minRounds: pairs, take, onRound })
  } finally {
    await closeSides(sides)
  }
}

async function openSides() {
  const [own, dense, file] = [await quantizedFolder(), await denseFolder(), await ggufFile()]
  const engine = await startSide(process.execPath, [at('bench', 'engine_side.mjs'), own], environment)
  return {
    own: { ...engine, run: job => engine.run({ ...job, params: { ignoreEos: true } }) },
    lm: await startSide(await python(), [at('bench', 'mlx_lm_side.py'), dense], environment),
    cpp: await startSide(process.execPath, [at('bench', 'llama_cpp_side.mjs'), await llamaCpp(), file], environment),
  }
}

/** The folder in which node-llama-cpp is installed, with only the binary of this platform. */
async function llamaCpp() {
  const folder = cached(`node-llama-cpp-${PEER_VERSION}`)
  if (existsSync(join(folder, 'complete'))) return folder
  const binary = process.platform === 'darwin' ? 'mac-arm64-metal' : 'linux-x64'
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  const packages = [`node-llama-cpp@${PEER_VERSION}`, `@node-llama-cpp/${binary}@${PEER_VERSION}`]
  const flags = ['--prefix', folder, '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--silent']
  await quiet('npm', ['install', ...flags, ...packages])
  writeFileSync(join(folder, 'complete'), '')
  return folder
}

function cell(rows, pairs) {
  const against = value =>
    Object.fromEntries(Object.keys(PEERS).map(peer => [peer, paired(pairs, ['own', peer], value)]))
  const medianOf = (side, key) => median(pairs.map(pair => pair[side][key]))
  const sides = Object.fromEntries(
    ['own', ...Object.keys(PEERS)].map(side => [
      side,
      { tokensPerSecond: medianOf(side, 'tokensPerSecond'), firstMs: medianOf(side, 'firstMs') },
    ]),
  )
  return { rows, pairs: pairs.length, sides, ratios: against(rateRatio), addedFirstMs: against(addedFirstMs) }
}

function shown({ rows, pairs, sides, ratios }) {
  const row = { rows, pairs, 'tok/s': sides.own.tokensPerSecond.toFixed(0), 'first ms': sides.own.firstMs.toFixed(0) }
  for (const [peer, name] of Object.entries(PEERS)) {
    row[`${name} tok/s`] = sides[peer].tokensPerSecond.toFixed(0)
    row[`${name} first ms`] = sides[peer].firstMs.toFixed(0)
    row[`ratio to ${name}`] = range(ratios[peer])
  }
  return row
}
