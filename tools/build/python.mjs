// The Python environment with mlx-lm in the versions of tools/conformance, for benchmarks and for the tests on a real model.
// The addon's BLAS replaces the one of the wheel, so that every side runs the same libmlx on the same BLAS.

import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cached } from './cache.mjs'
import { quiet } from './command.mjs'
import { at, platform } from './repository.mjs'
import { PYTHON } from './wheels.mjs'

const REQUIREMENTS = at('tools', 'conformance', 'requirements.txt')
/** The BLAS that replaces the wheel's, and its dependency. A Mac has none. */
const BLAS = /^lib(blas-.*|gfortran)\.so/

/** The environment of every side: each has one core for its matrix products. */
export const environment = { ...process.env, OPENBLAS_NUM_THREADS: '1', HF_HUB_OFFLINE: '1', PYTHONUNBUFFERED: '1' }

/** The interpreter; installs what is missing. */
export async function python() {
  const digest = createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex').slice(0, 8)
  const folder = cached('bench', `python-${digest}`)
  const interpreter = join(folder, 'bin', 'python')
  if (!existsSync(join(folder, 'complete'))) {
    await quiet(PYTHON, ['-m', 'venv', '--clear', folder])
    await quiet(interpreter, ['-m', 'pip', 'install', '--quiet', '--requirement', REQUIREMENTS])
    writeFileSync(join(folder, 'complete'), '')
  }
  await shareBlas(interpreter)
  return interpreter
}

async function shareBlas(interpreter) {
  const ours = platform().folder
  const names = readdirSync(ours).filter(name => BLAS.test(name))
  const packages = await quiet(interpreter, ['-c', 'import sysconfig; print(sysconfig.get_path("platlib"))'])
  for (const name of names) copyFileSync(join(ours, name), join(packages.trim(), 'mlx_cpu.libs', name))
}
