// `npm run conformance`: compares every model family with the recorded answers of mlx-lm, within tolerances, on this
// machine's device. Lists the conformance tests that it leaves out. `npm run conformance:live -- --seed N` compares new
// random models, made from the seed, with mlx-lm itself; without --seed it chooses a seed and prints it.

import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cached } from './cache.mjs'
import { quiet, show } from './command.mjs'
import { Failure, main } from './failure.mjs'
import { at } from './repository.mjs'
import { missingDevice } from './smoke/device.mjs'
import { phase } from './terminal.mjs'

const MAX_SEED = 2 ** 31
const TESTS = ['test', '--locked', '--test', 'conformance']
/** Serving on MLX: answers of requests that share steps, alone and together. */
const SERVING = ['test', '--locked', '--test', 'engine', '--', 'on_mlx']
/** Test modules that hold on every device. The others compare bits, or test the CPU backend only. */
const ON_EVERY_DEVICE = ['against_mlx_lm', 'families', 'bad_families', 'bad_models', 'bad_plans']
const speaks = { speaks: true }

function options() {
  const { values } = parseArgs({ options: { live: { type: 'boolean' }, seed: { type: 'string' } } })
  const seed = values.seed === undefined ? Math.floor(Math.random() * MAX_SEED) : Number(values.seed)
  if (Number.isInteger(seed) && seed >= 0 && seed < MAX_SEED) return { isLive: values.live, seed }
  throw new Failure(`--seed is ${values.seed}, expected a whole number from 0 to ${MAX_SEED - 1}.`)
}

/** An interpreter with the version of mlx-lm that made the fixtures; installs what is missing. */
async function python() {
  const requirements = at('tools', 'conformance', 'requirements.txt')
  const digest = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 8)
  const folder = cached(`conformance-${digest}`)
  const interpreter = join(folder, 'bin', 'python')
  if (!existsSync(join(folder, 'complete'))) {
    await quiet(process.env.PYTHON ?? 'python3', ['-m', 'venv', '--clear', folder])
    await quiet(interpreter, ['-m', 'pip', 'install', '--quiet', '--requirement', requirements])
    writeFileSync(join(folder, 'complete'), '')
  }
  return interpreter
}

async function live(seed) {
  const folder = mkdtempSync(join(tmpdir(), 'mlx-serving-conformance-'))
  try {
    const interpreter = await phase('Installing mlx-lm', python)
    const script = [at('tools', 'conformance', 'families.py'), '--seed', String(seed), '--out', folder]
    await phase(
      `Asking mlx-lm about random models of seed ${seed}`,
      () => show(interpreter, script, { env: { ...process.env, HF_HUB_OFFLINE: '1' } }),
      speaks,
    )
    const env = { ...process.env, CONFORMANCE_FAMILIES: folder }
    await phase('Comparing', () => show('cargo', [...TESTS, '--', 'families::each'], { env }), speaks)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Cases with tokens that lead by less than twice the tolerance: a device with other rounding may choose others. */
function unclear() {
  const fixtures = at('tools', 'conformance', 'fixtures')
  const isUnclear = name => {
    const path = join(fixtures, name, 'expected.json')
    const { prompts = [] } = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {}
    return prompts.some(prompt => prompt.min_margin < 2 * prompt.tolerance)
  }
  return readdirSync(fixtures).filter(isUnclear)
}

async function recorded() {
  const missing = await missingDevice()
  if (missing) return console.log(`Nothing was compared: ${missing}.`)
  const filters = ON_EVERY_DEVICE.map(name => `conformance::${name}::`)
  await phase('Comparing within tolerances', () => show('cargo', [...TESTS, '--', ...filters]), speaks)
  await phase('Serving', () => show('cargo', SERVING), speaks)
  const listed = await quiet('cargo', [...TESTS, '--', '--list'])
  const modules = [...listed.matchAll(/^conformance::(\w+)::.*: test$/gm)].map(([, module]) => module)
  const left = modules.filter(module => !ON_EVERY_DEVICE.includes(module))
  console.log(
    `${left.length} tests were not run: they compare bits, or test the CPU backend only. They are in ${[...new Set(left)].join(', ')}.`,
  )
  if (process.platform === 'darwin') {
    console.log(
      `Prompts with tokens that lead by less than twice the tolerance were not compared. They are in the cases ${unclear().join(', ')}.`,
    )
  }
}

await main(async () => {
  const { isLive, seed } = options()
  await (isLive ? live(seed) : recorded())
})
