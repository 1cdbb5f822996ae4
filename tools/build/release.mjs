// `npm run release -- --from DIR`: publishes the packed tarballs with their provenance. The package itself comes last, so
// that its platform packages exist when it can be installed. `--dry-run` does everything except publishing.
// `--check-tag v1.2.3` only compares a tag with the version of this checkout.
// After an interruption it can run again: it skips tarballs that are already published.

import { existsSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { quiet, show } from './command.mjs'
import { Failure, main } from './failure.mjs'
import { PAGES, pageProblems } from './page.mjs'
import { platforms, root } from './repository.mjs'
import { checkTarball, releasedVersion } from './tarballs.mjs'
import { phase } from './terminal.mjs'

/** The tarballs in the order of publication. Fails unless every package has one. */
export function releaseOrder(folder, version = releasedVersion()) {
  const names = [...platforms().map(target => target.package), 'mlx-serving']
  const tarballs = names.map(name => ({ name, version, tarball: join(folder, `${name}-${version}.tgz`) }))
  const missing = tarballs.filter(({ tarball }) => !existsSync(tarball))
  if (missing.length === 0) return tarballs
  throw new Failure(`Not packed for ${version}: ${missing.map(({ name }) => name).join(', ')}.`)
}

/** Fails unless the tag matches the version of this checkout. */
export function checkTag(tag, version = releasedVersion()) {
  if (tag !== `v${version}`) throw new Failure(`The tag ${tag} must be v${version}, the version in Cargo.toml.`)
}

async function release(folder, isDryRun) {
  const packages = releaseOrder(folder)
  for (const { tarball } of packages) console.log(await checkTarball(tarball))
  await checkPage(packages.at(-1).tarball)
  for (const { name, version, tarball } of packages) {
    if (await isPublished(name, version)) console.log(`${name} ${version} is published already.`)
    else await publish(tarball, isDryRun)
  }
}

/** Fails unless the page of the package on the registry stands alone. */
export async function checkPage(tarball) {
  const read = name => quiet('tar', ['-xzOf', tarball, `package/${name}`])
  const pages = {}
  for (const name of PAGES) pages[name] = await read(name)
  const problems = pageProblems(JSON.parse(await read('package.json')), pages)
  if (problems.length > 0) throw new Failure(`${basename(tarball)}:\n  ${problems.join('\n  ')}`)
}

/** Whether the registry has it. An unreachable registry counts as no: publishing then fails with the reason. */
const isPublished = (name, version) =>
  quiet('npm', ['view', `${name}@${version}`, 'version']).then(
    output => output.trim() === version,
    () => false,
  )

function publish(tarball, isDryRun) {
  // Only the build service can make the provenance.
  const proof = isDryRun ? ['--dry-run'] : ['--provenance']
  const args = ['publish', tarball, '--access', 'public', '--ignore-scripts', ...proof]
  return phase(`npm ${args.join(' ')}`, () => show('npm', args, { cwd: root }), { speaks: true })
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(() => {
    const options = { from: { type: 'string' }, 'dry-run': { type: 'boolean' }, 'check-tag': { type: 'string' } }
    const { values } = parseArgs({ options })
    if (values['check-tag']) return checkTag(values['check-tag'])
    if (values.from) return release(resolve(values.from), values['dry-run'] === true)
    throw new Failure('Name the folder of the tarballs: npm run release -- --from DIR')
  })
}
