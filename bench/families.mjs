// `npm run bench:models`: random models of each family in each format, beside mlx-lm, from 1 row to 32. Models are of two
// sizes: one in which the number of operations decides, and one in which the bytes of weights do. Both sides compute in the
// model's own precision, as on a Mac, and take turns at the same prompts. Progress goes to stderr; the last line of stdout is
// JSON, which is also written to a file.

import { writeFileSync } from 'node:fs'
import { arch, cpus, loadavg, platform } from 'node:os'
import { parseArgs } from 'node:util'
import { build } from '../tools/build/build.mjs'
import { main } from '../tools/build/failure.mjs'
import { environment, python } from '../tools/build/python.mjs'
import { at } from '../tools/build/repository.mjs'
import { bold, dim } from '../tools/build/terminal.mjs'
import { cached } from './cache.mjs'
import { among, count } from './flags.mjs'
import { startSide } from './job.mjs'
import { measure } from './measure.mjs'
import { modelFolder } from './models.mjs'
import { progress } from './progress.mjs'
import { range, table } from './report.mjs'
import { closeSides } from './sides.mjs'
import { addedFirstMs, median, paired, rateRatio } from './statistics.mjs'

const FAMILIES = ['llama', 'qwen3', 'gemma2', 'gemma3_text', 'qwen3_moe']
const FORMATS = ['f16', 'bf16', 'q4']
const OP_BOUND = '8x64'
/** A CPU multiplies half precision number by number: a larger model would take hours there. */
const BANDWIDTH_BOUND = process.platform === 'darwin' ? '16x2048' : '4x256'
const FLAGS = {
  sizes: { type: 'string', default: `${OP_BOUND},${BANDWIDTH_BOUND}` },
  families: { type: 'string', default: FAMILIES.join(',') },
  formats: { type: 'string', default: FORMATS.join(',') },
  rows: { type: 'string', default: '1,2,4,8,16,32' },
  pairs: { type: 'string', default: '3' },
  tokens: { type: 'string', default: '64' },
  out: { type: 'string' },
  quick: { type: 'boolean', default: false },
}
const MOST = 256
const QUICK = { sizes: OP_BOUND, rows: '1,4,16', pairs: '3', tokens: '16' }
const ENGINE = JSON.stringify({ precision: 'model' })

await main(async () => {
  const { values } = parseArgs({ args: process.argv.slice(2), options: FLAGS, strict: true })
  const options = read(values.quick ? { ...values, ...QUICK } : values)
  await build()
  const interpreter = await python()
  const before = loadavg()
  const cells = []
  for (const size of options.sizes)
    for (const family of options.families)
      for (const format of options.formats)
        cells.push(...(await measureModel({ size, family, format }, interpreter, options)))
  for (const size of options.sizes) {
    console.log(`\n${bold(size)}: 32 prompt and ${options.numTokens} answer tokens, medians [quartiles]`)
    table(cells.filter(cell => cell.size === size).map(shown))
  }
  console.log(dim('Ratios are those of mlx-serving to mlx-lm, pair by pair.'))
  const machine = `${cpus().length}-core ${platform()} ${arch()}`
  const result = { date: new Date().toISOString(), machine, load: { before, after: loadavg() }, cells }
  writeFileSync(options.out, `${JSON.stringify(result, null, 1)}\n`)
  console.log(dim(`Written to ${options.out}`))
  console.log(JSON.stringify(result))
})

function read({ sizes, families, formats, rows, pairs, tokens, out }) {
  return {
    sizes: sizes.split(','),
    families: among('--families', families, FAMILIES),
    formats: among('--formats', formats, FORMATS),
    rows: rows.split(',').map(text => count('--rows', text, MOST)),
    pairs: count('--pairs', pairs, MOST),
    numTokens: count('--tokens', tokens, MOST),
    out: out ?? cached('models.json'),
  }
}

async function measureModel(model, interpreter, { rows, pairs, numTokens }) {
  const name = `${model.size}-${model.family}-${model.format}`
  const folder = await modelFolder(name, interpreter)
  const { promptsFor } = await import('./prompts.mjs')
  const take = await promptsFor(name)
  const sides = {
    own: await startSide(process.execPath, [at('bench', 'engine_side.mjs'), folder, ENGINE], environment),
  }
  try {
    if (hasPeer(model)) sides.lm = await startSide(interpreter, [at('bench', 'mlx_lm_side.py'), folder], environment)
    const onRound = round => progress(`${name}: round ${round}${round === 0 ? ', to warm up' : ''}`)
    const rounds = await measure(sides, { rows, minRounds: pairs, take, onRound, numTokens, modelMs: 0 })
    return rows.map(count => cellOf({ ...model, rows: count }, rounds.get(count)))
  } finally {
    await closeSides(sides)
  }
}

/** MLX has no gathered product of half precision on a CPU: mlx-lm does not run such a mixture there. */
function hasPeer({ family, format }) {
  return process.platform === 'darwin' || family !== 'qwen3_moe' || format === 'q4'
}

function cellOf(cell, pairs) {
  const of = side => ({
    tokensPerSecond: median(pairs.map(pair => pair[side].tokensPerSecond)),
    firstMs: median(pairs.map(pair => pair[side].firstMs)),
  })
  if (!('lm' in pairs[0])) return { ...cell, pairs: pairs.length, own: of('own') }
  const ratio = paired(pairs, ['own', 'lm'], rateRatio)
  const added = paired(pairs, ['own', 'lm'], addedFirstMs)
  return { ...cell, pairs: pairs.length, own: of('own'), lm: of('lm'), ratio, addedFirstMs: added }
}

function shown({ family, format, rows, own, lm, ratio }) {
  return {
    family,
    format,
    rows,
    'tok/s': own.tokensPerSecond.toFixed(0),
    'mlx-lm tok/s': lm ? lm.tokensPerSecond.toFixed(0) : '–',
    ratio: ratio ? range(ratio) : '–',
    'first ms': own.firstMs.toFixed(1),
    'mlx-lm first ms': lm ? lm.firstMs.toFixed(1) : '–',
  }
}
