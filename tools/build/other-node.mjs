// `node tools/build/other-node.mjs 24`: runs the JavaScript tests on another major version of Node, which npm's registry
// has as a package. It is installed under target/, where it is in nobody's way.

import { existsSync } from 'node:fs'
import { build } from './build.mjs'
import { quiet } from './command.mjs'
import { Failure, main } from './failure.mjs'
import { at } from './repository.mjs'
import { runVitest } from './runners.mjs'
import { phase } from './terminal.mjs'

/** What each major version is tested with. */
const VERSIONS = { 22: '22.23.3', 24: '24.21.0' }

async function install(major) {
  const version = VERSIONS[major]
  if (!version) throw new Failure(`Say which Node: ${Object.keys(VERSIONS).join(' or ')}.`)
  const name = `node-${process.platform}-${process.arch}`
  const folder = at('target', `node-${version}`)
  const node = `${folder}/node_modules/${name}/bin/node`
  if (!existsSync(node)) {
    const args = ['install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund', `${name}@${version}`]
    await phase(`Installing Node ${version}`, () => quiet('npm', args))
  }
  return node
}

await main(async () => {
  const major = process.argv[2]
  const node = await install(major)
  await build()
  await phase(`Testing from JavaScript on Node ${major} (vitest)`, () => runVitest(`node-${major}`, node), {
    speaks: true,
  })
})
