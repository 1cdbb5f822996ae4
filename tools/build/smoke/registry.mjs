// An npm registry on this machine that serves only the packed tarballs, the locked packages that they depend on, and peers.
// Package managers install from it as from npm's registry, which tests how they choose the platform packages. A platform package
// that is not packed is listed but cannot be fetched, so an installation that requests it fails.

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { basename, join } from 'node:path'
import { quiet } from '../command.mjs'
import { at, platforms, readJson } from '../repository.mjs'

/** Peers that a check installs. */
const PEERS = ['@opentelemetry/api']

/** Serves the tarballs until it is closed. */
export async function startRegistry(tarballs) {
  const packages = new Map()
  for (const { folder } of platforms()) add(packages, readJson(`${folder}/package.json`))
  for (const tarball of tarballs) {
    add(packages, JSON.parse(await quiet('tar', ['-xzOf', tarball, 'package/package.json'])), tarball)
  }
  for (const name of [...Object.keys(readJson(at('package.json')).dependencies), ...PEERS]) {
    const folder = at('node_modules', name)
    add(packages, readJson(join(folder, 'package.json')), await packed(folder))
  }
  const server = createServer((request, response) => answer(packages, request, response))
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() }
}

/** A tarball of an installed package. */
async function packed(folder) {
  const out = at('target', 'smoke-dependencies')
  mkdirSync(out, { recursive: true })
  const args = ['pack', folder, '--pack-destination', out, '--ignore-scripts', '--json']
  const [{ filename }] = JSON.parse(await quiet('npm', args))
  return join(out, filename)
}

function add(packages, manifest, tarball) {
  const bytes = tarball === undefined ? Buffer.alloc(0) : readFileSync(tarball)
  packages.set(manifest.name, { manifest, bytes, file: tarball && basename(tarball) })
}

function answer(packages, request, response) {
  const path = decodeURIComponent(request.url).slice(1)
  const found = packages.get(path)
  if (found) return send(response, 'application/json', JSON.stringify(packument(found, request.headers.host)))
  const fetched = [...packages.values()].find(({ file }) => file !== undefined && path === `-/${file}`)
  if (fetched) return send(response, 'application/octet-stream', fetched.bytes)
  response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"not found"}')
}

function send(response, type, body) {
  response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body)
}

/** A registry's metadata of a package. The date of publication is old, because package managers distrust new packages. */
function packument({ manifest, bytes, file }, host) {
  const { name, version } = manifest
  const digest = (algorithm, encoding) => createHash(algorithm).update(bytes).digest(encoding)
  const dist = {
    tarball: `http://${host}/-/${file ?? 'not-packed.tgz'}`,
    integrity: `sha512-${digest('sha512', 'base64')}`,
    shasum: digest('sha1', 'hex'),
  }
  const published = '2020-01-01T00:00:00.000Z'
  return {
    name,
    'dist-tags': { latest: version },
    versions: { [version]: { ...manifest, dist } },
    time: { created: published, modified: published, [version]: published },
  }
}
