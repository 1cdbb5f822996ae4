// What the install smoke test uses besides Node and npm: other package managers, bundlers, checkers of packages and
// other versions of Node. They are packages of their own in tools/, locked, so that nobody else has to install them.

import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { quiet } from '../command.mjs'
import { keepFresh } from '../freshness.mjs'
import { at, readJson } from '../repository.mjs'
import { phase } from '../terminal.mjs'

const MANIFESTS = ['package.json', 'package-lock.json']
const source = name => at('tools', 'build', 'smoke', 'tools', name)
const folder = at('target', 'smoke-tools')

/** A path inside an installed tool. */
export const tool = (...path) => [folder, 'node_modules', ...path].join('/')

/** Installs the tools, if they are not there or others are locked. */
export async function installTools() {
  const inputs = MANIFESTS.map(name => `tools/build/smoke/tools/${name}`)
  await keepFresh({ name: 'smoke-tools', inputs, outputs: [tool()] }, () =>
    phase('Installing package managers, bundlers and versions of Node (npm ci)', async () => {
      mkdirSync(folder, { recursive: true })
      for (const name of MANIFESTS) copyFileSync(source(name), `${folder}/${name}`)
      await quiet('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: folder })
    }),
  )
}

/** The versions of Node that are there for this platform, by major version. */
export function otherNodes() {
  const names = Object.keys(readJson(source('package.json')).optionalDependencies).filter(name =>
    /^node-\d+$/.test(name),
  )
  const found = names.map(name => [name.slice('node-'.length), tool(name, 'bin', 'node')])
  return Object.fromEntries(found.filter(([, path]) => existsSync(path)))
}
