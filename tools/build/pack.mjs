// `npm run pack`: makes the tarballs for publication: the package and the one of this platform. `npm run pack:all` makes
// those of all platforms, cross-compiled for a Mac. Both take `--out DIR`; the default is target/packages.
// Owns the differences between this checkout and a published package. tarballs.mjs checks the result.

import { constants, cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { buildAddon } from './addon.mjs'
import { checkBinaries } from './binaries.mjs'
import { build } from './build.mjs'
import { quiet } from './command.mjs'
import { main } from './failure.mjs'
import { at, platform, platforms, readJson, root } from './repository.mjs'
import { checkTarball } from './tarballs.mjs'
import { phase } from './terminal.mjs'

const LICENCES = ['LICENSE', 'THIRD-PARTY.md']
const COPY = { recursive: true, mode: constants.COPYFILE_FICLONE }

/** Packs the package and the given platforms. Resolves with the paths of the tarballs, the package first. */
export async function pack({ targets = [platform()], out = at('target', 'packages') } = {}) {
  await build()
  for (const target of targets) {
    await buildAddon(target)
    await checkBinaries(target)
  }
  mkdirSync(out, { recursive: true })
  const tarballs = [await packOne(root, publishedManifest(), out)]
  for (const { folder } of targets) tarballs.push(await packOne(folder, readJson(join(folder, 'package.json')), out))
  return tarballs
}

/** Drops what only this checkout needs, and adds the platform packages, which do not exist before publication. */
export function publishedManifest() {
  const { scripts, devDependencies, ...manifest } = readJson(at('package.json'))
  const optionalDependencies = Object.fromEntries(platforms().map(target => [target.package, manifest.version]))
  return { ...manifest, optionalDependencies }
}

/** Packs a copy, so that no file is written beside the sources. */
async function packOne(folder, manifest, out) {
  const staged = at('target', 'staged', manifest.name)
  rmSync(staged, { recursive: true, force: true })
  const names = folder === root ? [...manifest.files, 'README.md'] : readdirSync(folder)
  for (const name of names) cpSync(join(folder, name), join(staged, name), COPY)
  for (const name of LICENCES) cpSync(at(name), join(staged, name))
  writeFileSync(join(staged, 'package.json'), `${JSON.stringify({ ...manifest, ...repository() }, null, 2)}\n`)
  const tarball = join(out, `${manifest.name}-${manifest.version}.tgz`)
  rmSync(tarball, { force: true })
  await phase(`Packing ${manifest.name} (npm pack)`, () =>
    quiet('npm', ['pack', '--pack-destination', out, '--ignore-scripts'], { cwd: staged }),
  )
  console.log(`  ${await checkTarball(tarball)}`)
  return tarball
}

/** The repository: npm compares it with the signed provenance of the build. */
function repository() {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: name } = process.env
  return server && name ? { repository: { type: 'git', url: `git+${server}/${name}.git` } } : {}
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(() => {
    const { values } = parseArgs({ options: { all: { type: 'boolean' }, out: { type: 'string' } } })
    return pack({ ...(values.all && { targets: platforms() }), ...(values.out && { out: resolve(values.out) }) })
  })
}
