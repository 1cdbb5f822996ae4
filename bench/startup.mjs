// `npm run bench:startup`: measures the time from `require` to the first token of the bundled model, and for mlx-lm from
// `import` to its first token, in turns. Also measures the loading of the addon without MLX. The last line of stdout is JSON.

import { join } from 'node:path'
import { build } from '../tools/build/build.mjs'
import { quiet } from '../tools/build/command.mjs'
import { main } from '../tools/build/failure.mjs'
import { environment, python } from '../tools/build/python.mjs'
import { at, platform } from '../tools/build/repository.mjs'
import { startupGoals } from './goals.mjs'
import { printGoals } from './report.mjs'
import { quartiles } from './statistics.mjs'

const NUM_ROUNDS = 10
const QUESTION = 'What is 12 + 7?'
const MODEL = at('models', 'demo')

await main(async () => {
  await build()
  const interpreter = await python()
  const rounds = []
  // The first round does not count: it reads files into memory.
  for (let round = 0; round <= NUM_ROUNDS; round++) {
    const one = await measure(interpreter)
    if (round > 0) rounds.push(one)
  }
  for (const side of ['engine', 'mlxLm']) printStages(side, rounds)
  const goals = startupGoals({
    ratio: quartiles(rounds.map(({ engine, mlxLm }) => engine.firstToken / mlxLm.firstToken)),
    addonMs: quartiles(rounds.map(({ addonMs }) => addonMs)),
  })
  printGoals(goals)
  console.log(JSON.stringify({ date: new Date().toISOString(), node: process.version, rounds, goals }))
})

/** One start of each, one after the other. */
async function measure(interpreter) {
  const engine = JSON.parse(await start(process.execPath, ['startup_engine.cjs', QUESTION]))
  const mlxLm = JSON.parse(await start(interpreter, ['startup_mlx_lm.py', MODEL, QUESTION]))
  const addon = join(platform().folder, 'mlx-serving.node')
  const addonMs = Number(await start(process.execPath, ['startup_addon.cjs', addon], mlxLoaded()))
  return { engine, mlxLm, addonMs }
}

function start(program, [script, ...args], more = {}) {
  return quiet(program, [at('bench', script), ...args], { env: { ...environment, ...more } })
}

/** Environment that loads MLX before Node starts. */
function mlxLoaded() {
  const [variable, file] =
    process.platform === 'darwin' ? ['DYLD_INSERT_LIBRARIES', 'libmlx.dylib'] : ['LD_PRELOAD', 'libmlx.so']
  return { [variable]: join(platform().folder, file) }
}

function printStages(side, rounds) {
  const stages = Object.keys(rounds[0][side])
  const spans = stages.map(stage => {
    const [low, middle, high] = quartiles(rounds.map(round => round[side][stage])).map(Math.round)
    return `${stage} ${middle} (${low}-${high})`
  })
  console.log(`${side}, ms since its start: ${spans.join(', ')}`)
}
