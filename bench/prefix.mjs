// `npm run bench:prefix`: measures what reuse of prefixes gains and costs: the time to the first token and the computed prompt
// tokens, with the prefix cache and without. The workloads are prompts with a common beginning, chats, agents and a tree of
// thoughts. Runs on a simulated device in real time. `--mlx` runs a copy of the demo model with a longer context on MLX, beside
// mlx-lm's prompt cache; `--model <folder>` runs another model. Progress goes to stderr, tables to stdout; the last line of
// stdout is one JSON object.

import { cpSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from '../tools/build/build.mjs'
import { main } from '../tools/build/failure.mjs'
import { environment, python } from '../tools/build/python.mjs'
import { at, readJson } from '../tools/build/repository.mjs'
import { cached } from './cache.mjs'
import { count } from './flags.mjs'
import { atMost, goal } from './goals.mjs'
import { startSide } from './job.mjs'
import { modelFolder } from './models.mjs'
import { missCost } from './prefix_misses.mjs'
import { CHAT, workloads } from './prefix_workloads.mjs'
import { progress } from './progress.mjs'
import { printGoals, table } from './report.mjs'
import { runBench } from './sides.mjs'
import { median, quartiles } from './statistics.mjs'

const FLAGS = {
  model: { type: 'string' },
  mlx: { type: 'boolean', default: false },
  together: { type: 'string', default: '8' },
  pairs: { type: 'string', default: '1' },
}
const SIMULATED = 'm3-max/llama-3.2-3b-4bit'
/** Tokens that prompts have in common. */
const SHARED = [500, 2_000, 8_000]
const ANSWER = 30
/** The demo model's own context has 1,024 positions. Its answers are of no use beyond, but they take the same time. */
const LONG_CONTEXT = 16_384

const off = { enabled: false }
const UNSHARED = { coalescing: off, dedup: off, promptCache: off }
const WITHOUT = { ...UNSHARED, prefixCache: off }
const OURS = { with: UNSHARED, without: WITHOUT }

await main(async () => {
  const { values } = parseArgs({ args: process.argv.slice(2), options: FLAGS, strict: true })
  const [together, pairs] = [count('--together', values.together, 64), count('--pairs', values.pairs, 50)]
  await build()
  const { createEngine } = (await import('../dist/index.js')).default
  const interpreter = values.mlx ? await python() : undefined
  const folder = values.mlx ? await longDemo(interpreter) : values.model
  const cells = []
  for (let round = 0; round < pairs; round++) {
    for (const [side, cache] of Object.entries(OURS)) {
      progress(`round ${round + 1}: ${side} the prefix cache`)
      const open = () =>
        opened(createEngine, { ...(folder ? {} : { backend: { simulated: SIMULATED } }), cache }, folder)
      cells.push(...(await measure(side, await open(), { shared: SHARED, together })))
    }
    if (interpreter === undefined) continue
    for (const reuse of [true, false]) {
      const side = `mlx-lm ${reuse ? 'with' : 'without'}`
      progress(`round ${round + 1}: ${side}`)
      cells.push(...(await measure(side, await mlxLm(interpreter, folder, reuse), { shared: SHARED, isAlone: true })))
    }
  }
  progress('requests that never find a prefix')
  const misses = await missCost(createEngine, { with: UNSHARED, without: WITHOUT })
  progress('a look-up')
  const lookup = await runBench('prefix_lookup')
  const rows = summarize(cells)
  const goals = goalsOf(cells, misses, lookup)
  table(rows)
  printGoals(goals)
  console.log(JSON.stringify({ device: folder ?? SIMULATED, together, pairs, rows, misses, lookup, goals, cells }))
})

/** An engine as a side: it answers a prompt, and says how many prompt tokens it has computed. */
async function opened(createEngine, options, folder) {
  const engine = await createEngine(options)
  const model = await engine.loadModel(folder)
  return {
    computed: () => engine.stats().promptTokens,
    async ask(prompt) {
      const params = { model, prompt: { tokens: prompt }, temperature: 0, maxTokens: ANSWER, ignoreEos: true }
      const { timings, tokens } = await engine.generate(params)
      return { firstMs: timings.ttftMs, tokens: [...tokens] }
    },
    close: () => engine.shutdown(),
  }
}

async function mlxLm(interpreter, folder, reuse) {
  const side = await startSide(interpreter, [at('bench', 'prefix_mlx_lm.py'), folder], environment)
  let computed = 0
  return {
    computed: () => computed,
    async ask(prompt) {
      const result = await side.run({ prompt, numTokens: ANSWER, reuse })
      computed += result.computed
      return result
    },
    close: () => side.close(),
  }
}

/** Runs all workloads. */
async function measure(side, { ask, computed, close }, options) {
  const cells = []
  try {
    for (const { what, run } of workloads(options)) {
      const before = computed()
      const times = await run(ask)
      // Of requests one after another the last one counts, of requests at once the slowest.
      const lastMs = what === CHAT ? times.at(-1) : Math.max(...times)
      cells.push({ side, what, lastMs, medianMs: median(times), computed: computed() - before })
    }
  } finally {
    await close()
  }
  return cells
}

/** One line for each workload: medians of all sides. */
function summarize(cells) {
  const sides = [...new Set(cells.map(({ side }) => side))]
  return [...new Set(cells.map(({ what }) => what))].map(what => {
    const figures = sides.flatMap(side => {
      const own = cells.filter(cell => cell.what === what && cell.side === side)
      const shown = (name, digits) => (own.length === 0 ? '' : median(own.map(cell => cell[name])).toFixed(digits))
      return [
        [`${side}: last (ms)`, shown('lastMs', 1)],
        [`${side}: median (ms)`, shown('medianMs', 1)],
        [`${side}: computed`, shown('computed', 0)],
      ]
    })
    return { what, ...Object.fromEntries(figures) }
  })
}

function goalsOf(cells, misses, lookup) {
  const of = (side, what, name) => cells.filter(it => it.side === side && it.what === what).map(it => it[name])
  const ratios = (one, other) => quartiles(one.map((value, at) => value / other[at]))
  const cold = of('with', '2000 tokens, cold', 'lastMs')
  const warm = ratios(of('with', '2000 tokens, warm', 'lastMs'), cold)
  const atOnce = ratios(of('with', '2000 tokens, at once', 'lastMs'), cold)
  const chat = ratios(of('without', CHAT, 'computed'), of('with', CHAT, 'computed'))
  return [
    goal('first token at 2,000 tokens, warm / cold', '≤ 0.05', warm, value => value <= 0.05),
    goal('2,000 tokens, the last of those at once / one', '≤ 1.1', atOnce, value => value <= 1.1),
    goal('ten-turn chat: prompt tokens without / with', '≥ 5', chat, value => value >= 5),
    goal('requests that find nothing: added time, %', '≤ 0.5', misses.percent, value => value <= 0.5),
    atMost('look-up of a prompt of 8,000 tokens, µs', 20, Math.max(...lookup.addedMicros)),
  ]
}

/** A copy of the demo model for long prompts. */
async function longDemo(interpreter) {
  const [source, folder] = [await modelFolder('demo', interpreter), cached('model-demo-long')]
  rmSync(folder, { recursive: true, force: true })
  cpSync(source, folder, { recursive: true })
  const config = join(folder, 'config.json')
  writeFileSync(config, JSON.stringify({ ...readJson(config), max_position_embeddings: LONG_CONTEXT }))
  return folder
}
