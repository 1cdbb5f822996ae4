// `npm run pack`: makes the tarballs for publication: the package and the one of this platform. `npm run pack:all` makes
// those of all platforms, cross-compiled for a Mac. Both take `--out DIR`; the default is target/packages. `--repository URL`
// is the address of the repository, from which the registry's page links; on GitHub it is known.
// Owns the differences between this checkout and a published package. tarballs.mjs checks the result.

import { constants, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { buildAddon } from './addon.mjs'
import { checkBinaries } from './binaries.mjs'
import { build } from './build.mjs'
import { quiet } from './command.mjs'
import { main } from './failure.mjs'
import { addressesOf, PAGES, packedPage } from './page.mjs'
import { at, platform, platforms, readJson, root } from './repository.mjs'
import { checkTarball } from './tarballs.mjs'
import { phase } from './terminal.mjs'

const LICENCES = ['LICENSE', 'THIRD-PARTY.md']
const COPY = { recursive: true, mode: constants.COPYFILE_FICLONE }

/** Packs the package and the given platforms. Resolves with the paths of the tarballs, the package first. */
export async function pack({ targets = [platform()], out = at('target', 'packages'), address = ownAddress() } = {}) {
  const addresses = addressesOf(address)
  await build()
  for (const target of targets) {
    await buildAddon(target)
    await checkBinaries(target)
  }
  mkdirSync(out, { recursive: true })
  const manifest = publishedManifest()
  const staged = stage(root, { ...manifest, ...addresses })
  writePages(staged, { address, version: manifest.version })
  const tarballs = [await packOne(staged, manifest, out)]
  for (const { folder } of targets) {
    const native = readJson(join(folder, 'package.json'))
    tarballs.push(await packOne(stage(folder, { ...native, ...addresses }), native, out))
  }
  return tarballs
}

/** Drops what only this checkout needs, and adds the platform packages, which do not exist before publication. */
export function publishedManifest() {
  const { scripts, devDependencies, ...manifest } = readJson(at('package.json'))
  const optionalDependencies = Object.fromEntries(platforms().map(target => [target.package, manifest.version]))
  return { ...manifest, optionalDependencies }
}

/** Makes a copy of a package, so that no file is written beside the sources. Returns its folder. */
function stage(folder, manifest) {
  const staged = at('target', 'staged', manifest.name)
  rmSync(staged, { recursive: true, force: true })
  const names = folder === root ? [...manifest.files, 'README.md'] : readdirSync(folder)
  for (const name of names) cpSync(join(folder, name), join(staged, name), COPY)
  for (const name of LICENCES) cpSync(at(name), join(staged, name))
  writeFileSync(join(staged, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  return staged
}

function writePages(staged, settings) {
  for (const name of PAGES) {
    const path = join(staged, name)
    writeFileSync(path, packedPage(readFileSync(path, 'utf8'), settings))
  }
}

async function packOne(staged, { name, version }, out) {
  const tarball = join(out, `${name}-${version}.tgz`)
  rmSync(tarball, { force: true })
  await phase(`Packing ${name} (npm pack)`, () =>
    quiet('npm', ['pack', '--pack-destination', out, '--ignore-scripts'], { cwd: staged }),
  )
  console.log(`  ${await checkTarball(tarball)}`)
  return tarball
}

/** The repository that is being built on GitHub: npm compares it with the signed provenance of the build. */
function ownAddress() {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: name } = process.env
  return server && name ? `${server}/${name}` : undefined
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(() => {
    const options = { all: { type: 'boolean' }, out: { type: 'string' }, repository: { type: 'string' } }
    const { values } = parseArgs({ options })
    return pack({
      ...(values.all && { targets: platforms() }),
      ...(values.out && { out: resolve(values.out) }),
      ...(values.repository && { address: values.repository }),
    })
  })
}
