// `npm run sbom -- --out FILE`: writes the bill of materials of the packages in CycloneDX format. It has the contents of
// THIRD-PARTY.md, crates from cargo and libraries from third-party/libraries.md, and the npm packages that the package needs.

import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { shippedCrates } from './crates.mjs'
import { Failure, main } from './failure.mjs'
import { at, platforms, readJson } from './repository.mjs'

/** A row of a table of libraries: name, address, version if known, package, licence. */
const LIBRARY = /^\| \[(.+?)\]\((.+?)\)(?: ([\d.]+))?[^|]*\| [^|]* \| ([^|]+) \|/gm

/** The bill of materials as an object. */
export async function billOfMaterials() {
  const { name, version, license } = readJson(at('package.json'))
  const own = npmPackage('application', name, version, license)
  const natives = platforms().map(target => npmPackage('library', target.package, version, license))
  const parts = [...natives, ...(await shippedCrates()).map(crate), ...libraries()]
  const needed = dependencies()
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: own },
    components: [...parts, ...needed],
    dependencies: [
      { ref: own['bom-ref'], dependsOn: [...natives, ...needed].map(ref) },
      ...natives.map(native => ({ ref: native['bom-ref'], dependsOn: parts.slice(natives.length).map(ref) })),
    ],
  }
}

const ref = component => component['bom-ref']

function npmPackage(type, name, version, license) {
  return component({ type, name, version, licence: license, purl: `pkg:npm/${name}@${version}` })
}

/** The npm packages that are installed with the package, as they are in this checkout. */
function dependencies() {
  const names = Object.keys(readJson(at('package.json')).dependencies)
  const manifests = names.map(name => readJson(at('node_modules', name, 'package.json')))
  return manifests.map(({ name, version, license }) => npmPackage('library', name, version, license))
}

function crate({ name, version, license, repository }) {
  const purl = `pkg:cargo/${name}@${version}`
  return component({ name, version, licence: license.replaceAll('/', ' OR '), purl, address: repository })
}

function libraries() {
  const text = readFileSync(at('tools', 'build', 'third-party', 'libraries.md'), 'utf8')
  return [...text.matchAll(LIBRARY)].map(([, name, address, version, licence]) =>
    component({
      name,
      version,
      licence,
      purl: `pkg:generic/${encodeURIComponent(name)}${version ? `@${version}` : ''}`,
      address,
    }),
  )
}

function component({ type = 'library', name, version, licence, purl, address }) {
  return {
    type,
    'bom-ref': purl,
    name,
    ...(version && { version }),
    licenses: [{ expression: licence.replace(/\s+/g, ' ').trim() }],
    purl,
    ...(address && { externalReferences: [{ type: 'website', url: address }] }),
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(async () => {
    const { values } = parseArgs({ options: { out: { type: 'string' } } })
    if (!values.out) throw new Failure('Name the file to write: npm run sbom -- --out FILE')
    writeFileSync(resolve(values.out), `${JSON.stringify(await billOfMaterials(), null, 2)}\n`)
  })
}
