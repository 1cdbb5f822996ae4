// Tools of the install smoke test besides Node and npm: other package managers, bundlers, checkers of packages and other
// versions of Node. tools/ has its own package.json and lock file, so that other commands do not install them.

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

/** Installs the tools unless the locked versions are installed. */
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

/** The installed versions of Node for this platform, by major version. */
export function otherNodes() {
  const names = Object.keys(readJson(source('package.json')).optionalDependencies).filter(name =>
    /^node-\d+$/.test(name),
  )
  const found = names.map(name => [name.slice('node-'.length), tool(name, 'bin', 'node')])
  return Object.fromEntries(found.filter(([, path]) => existsSync(path)))
}
