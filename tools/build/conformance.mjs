// `npm run conformance:live -- --seed N`: makes new random models of every family from a seed, asks mlx-lm what they answer,
// and runs the family tests on them. Without --seed a new one is taken, and shown.

import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cached } from './cache.mjs'
import { quiet, show } from './command.mjs'
import { Failure, main } from './failure.mjs'
import { at } from './repository.mjs'
import { phase } from './terminal.mjs'

const MAX_SEED = 2 ** 31

function chosenSeed() {
  const { values } = parseArgs({ options: { seed: { type: 'string' } } })
  const seed = values.seed === undefined ? Math.floor(Math.random() * MAX_SEED) : Number(values.seed)
  if (Number.isInteger(seed) && seed >= 0 && seed < MAX_SEED) return seed
  throw new Failure(`--seed is ${values.seed}, expected a whole number from 0 to ${MAX_SEED - 1}.`)
}

/** An interpreter with mlx-lm as the fixtures were made with; installs what is missing. */
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

await main(async () => {
  const seed = chosenSeed()
  const folder = mkdtempSync(join(tmpdir(), 'mlx-serving-conformance-'))
  try {
    const interpreter = await python()
    const script = at('tools', 'conformance', 'families.py')
    await phase(
      `Asking mlx-lm about random models of seed ${seed}`,
      () => show(interpreter, [script, '--seed', String(seed), '--out', folder], { env: { ...process.env, HF_HUB_OFFLINE: '1' } }),
      { speaks: true },
    )
    await phase(
      'Comparing (cargo test --test conformance families)',
      () =>
        show('cargo', ['test', '--locked', '--test', 'conformance', 'families'], {
          env: { ...process.env, CONFORMANCE_FAMILIES: folder },
        }),
      { speaks: true },
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
