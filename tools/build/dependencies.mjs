// Installs the npm packages of the scripts, tests and type checks, exactly as locked. Compares npm's record of what it
// installed with the lock file, and does nothing if they agree.

import { existsSync } from 'node:fs'
import { quiet } from './command.mjs'
import { at, readJson } from './repository.mjs'
import { phase } from './terminal.mjs'

/** Installs the locked packages, if they are not there. */
export async function installPackages() {
  if (areInstalled()) return
  await phase('Installing packages (npm ci)', () => quiet('npm', ['ci', '--no-audit', '--no-fund', '--include=dev']))
}

function areInstalled() {
  const record = at('node_modules', '.package-lock.json')
  if (!existsSync(record)) return false
  const locked = Object.entries(readJson(at('package-lock.json')).packages)
  const installed = readJson(record).packages
  // Optional packages are for other platforms.
  return locked.every(
    ([path, { version, optional }]) => path === '' || optional || installed[path]?.version === version,
  )
}
