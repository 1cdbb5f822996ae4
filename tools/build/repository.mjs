// Paths in this repository and names on this platform, for every other script. Builds nothing: addon.mjs and skin.mjs do.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Failure } from './failure.mjs'

/** The folder that holds package.json and Cargo.toml. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

/** A path inside the repository. */
export const at = (...parts) => join(root, ...parts)

export const readJson = path => JSON.parse(readFileSync(path, 'utf8'))

/** Pages that users read, relative to the root. */
export const pages = () =>
  ['README.md', ...readdirSync(at('docs')).map(name => `docs/${name}`)].filter(name => name.endsWith('.md'))

/** The supported platforms: cargo's names for the platform and its addon, and the files beside the addon in the package. */
const PLATFORMS = {
  'linux-x64': {
    name: 'linux-x64-gnu',
    triple: 'x86_64-unknown-linux-gnu',
    addon: 'libmlx_serving.so',
    companion: /\.so(\.|$)/,
  },
  'darwin-arm64': {
    name: 'darwin-arm64',
    triple: 'aarch64-apple-darwin',
    addon: 'libmlx_serving.dylib',
    companion: /\.(dylib|metallib)$/,
  },
}

const described = found => ({ ...found, package: `mlx-serving-${found.name}`, folder: at('npm', found.name) })

/** All supported platforms. */
export const platforms = () => Object.values(PLATFORMS).map(described)

/** The platform of this process. Fails if it is not supported. */
export function platform() {
  const found = PLATFORMS[`${process.platform}-${process.arch}`]
  if (found) return described(found)
  throw new Failure(
    `mlx-serving is built for ${Object.keys(PLATFORMS).join(' and ')}; this is ${process.platform}-${process.arch}.`,
  )
}

/** The platform of a package by its name, `darwin-arm64` for example. */
export function platformNamed(name) {
  const found = platforms().find(known => known.name === name)
  if (found) return found
  throw new Failure(
    `Name a platform: ${platforms()
      .map(known => known.name)
      .join(' or ')}.`,
  )
}

/** The script behind a command of an installed package. Starting it with this Node works on every platform. */
export function commandOf(name, command = name) {
  const folder = at('node_modules', ...name.split('/'))
  const { bin } = readJson(join(folder, 'package.json'))
  return join(folder, typeof bin === 'string' ? bin : bin[command])
}
