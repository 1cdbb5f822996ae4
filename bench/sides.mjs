// Opens the sides of the comparison on one model, each as a separate process: how each is started, and with which libraries.
// The work of a side is in its own file.

import { cargoRelease } from '../tools/build/cargo.mjs'
import { quiet } from '../tools/build/command.mjs'
import { Failure } from '../tools/build/failure.mjs'
import { environment } from '../tools/build/python.mjs'
import { at, platform } from '../tools/build/repository.mjs'
import { startSide } from './job.mjs'
import { startServer } from './server_side.mjs'

const OPENERS = {
  a: ({ bareLoop }, folder) => startSide(bareLoop, [folder], { ...environment, LD_LIBRARY_PATH: platform().folder }),
  b: (_programs, folder) => startSide(process.execPath, [at('bench', 'engine_side.mjs'), folder], environment),
  c: ({ python }, folder) => startSide(python, [at('bench', 'mlx_lm_side.py'), folder], environment),
  d: ({ python }, folder) => startServer(python, folder, environment),
}

/** The sides by letter, ready to run jobs. */
export async function openSides(letters, programs, folder) {
  const opened = {}
  for (const letter of letters) opened[letter] = await OPENERS[letter](programs, folder)
  return opened
}

export const closeSides = sides => Promise.all(Object.values(sides).map(side => side.close()))

/** Builds a benchmark of the crate and returns its path. */
export async function buildBench(name, features = []) {
  let program
  const note = ({ reason, target, executable }) => {
    if (reason === 'compiler-artifact' && target.name === name) program = executable ?? program
  }
  await cargoRelease(['bench', '--bench', name, ...features, '--no-run'], note)
  if (program) return program
  throw new Failure(`cargo did not report the path of the benchmark ${name}.`)
}

/** Builds a benchmark of the pure core, runs it, and returns the JSON of its last line. */
export async function runBench(name) {
  const printed = await quiet(await buildBench(name, ['--no-default-features']), [])
  return JSON.parse(printed.trim().split('\n').at(-1))
}
