// `npm run pack`: the tarballs that would be published, made in target/packages: the package and this platform's own.
// Owns what is put beside the addon only to be shipped: licences and a short README.

import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { quiet } from './command.mjs'
import { Failure, main } from './failure.mjs'
import { at, platform, readJson, root } from './repository.mjs'
import { phase } from './terminal.mjs'

/** Packs both packages. Resolves with the paths of the tarballs. */
export async function pack() {
  await build()
  const { folder } = platform()
  for (const name of ['LICENSE', 'THIRD-PARTY.md']) copyFileSync(at(name), join(folder, name))
  const into = at('target', 'packages')
  rmSync(into, { recursive: true, force: true })
  mkdirSync(into, { recursive: true })
  return phase('Packing (npm pack)', async () => [await packOne(root, into), await packOne(folder, into)])
}

async function packOne(folder, into) {
  await quiet('npm', ['pack', '--pack-destination', into, '--ignore-scripts'], { cwd: folder })
  const { name, version } = readJson(join(folder, 'package.json'))
  const tarball = join(into, `${name}-${version}.tgz`)
  if (existsSync(tarball)) return tarball
  throw new Failure(`npm pack did not make ${tarball}.`)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(pack)
