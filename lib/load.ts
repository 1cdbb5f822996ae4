// Finds and loads the addon: from the installed platform package, or from the npm/ folder of a checkout after a build. Each
// failure has its own message that says what to do. The addon is loaded on first use.

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { errorOf } from './errors'
import type { NativeAddon } from './native'
import { linuxProblem, macProblem, platformPackage, unknownPlatform } from './system'

const NAME = 'mlx-serving'
const ADDON_FILE = 'mlx-serving.node'
/** MLX looks for its Metal kernels in its own folder. */
const KERNELS_FILE = 'mlx.metallib'

/** The folder of this file. A bundle of ES modules has no such variable. */
const HERE = typeof __dirname === 'string' ? __dirname : process.cwd()
const ABOVE = path.join(HERE, '..')
const UNBUNDLE =
  'mlx-serving was bundled, and a bundle leaves out its addon and its model. Leave the package outside: esbuild ' +
  "`--external:mlx-serving`; webpack `externals: { 'mlx-serving': 'commonjs mlx-serving' }`; Rollup and Rolldown " +
  "`external: ['mlx-serving']`; Vite `ssr: { external: ['mlx-serving'] }`; Next.js " +
  "`serverExternalPackages: ['mlx-serving']`. Install it where the program runs"

let loaded: NativeAddon | undefined

/** The addon of this platform. Each thread loads it once. */
export function loadAddon(): NativeAddon {
  loaded ??= open(locate())
  return loaded
}

/** The folder of the model that ships with the package. */
export function demoModel(): string {
  const folder = path.join(root(), 'models', 'demo')
  if (existsSync(folder) || !isBundled()) return folder
  throw errorOf('ModelNotFound', `the model of the package is not in ${folder}: ${UNBUNDLE}`)
}

/** Whether this code is part of a bundle: it is not in its package. */
function isBundled(): boolean {
  try {
    const { name } = JSON.parse(readFileSync(path.join(ABOVE, 'package.json'), 'utf8')) as { name?: string }
    return name !== NAME
  } catch {
    return true
  }
}

/** The root of the package: one level above dist/ and lib/, or the installed package if this code was bundled. */
function root(): string {
  return existsSync(path.join(ABOVE, 'models', 'demo')) ? ABOVE : (folderOf(NAME) ?? ABOVE)
}

/** The folder of an installed package. The name is not a literal, so that bundlers do not follow it. */
function folderOf(name: string): string | undefined {
  try {
    return path.dirname(require.resolve(`${name}/package.json`))
  } catch {
    return undefined
  }
}

function locate(): string {
  const name = platformPackage()
  if (name === undefined) throw unsupported(unknownPlatform())
  const folder = folderOf(name) ?? path.join(root(), 'npm', name.slice(NAME.length + 1))
  const file = path.join(folder, ADDON_FILE)
  const problem = process.platform === 'darwin' ? macProblem() : undefined
  if (problem !== undefined) throw unsupported(problem)
  if (!existsSync(file)) throw unsupported(systemProblem() ?? notInstalled(name))
  if (process.platform === 'darwin' && !existsSync(path.join(folder, KERNELS_FILE))) {
    throw unsupported(
      `${KERNELS_FILE} is not beside the addon in ${folder}. MLX finds its Metal kernels there: copy all files of ` +
        `${name} together, or have the bundler leave that package where it is`,
    )
  }
  return file
}

function notInstalled(name: string): string {
  if (isBundled()) return `the package ${name} was not found: ${UNBUNDLE}`
  return (
    `the package ${name} is not installed. Install without --omit=optional; if a lockfile from another platform left ` +
    'it out, remove node_modules and package-lock.json and run `npm install` again. In a checkout: `npm run build`'
  )
}

function systemProblem(): string | undefined {
  return process.platform === 'linux' ? linuxProblem() : undefined
}

function open(file: string): NativeAddon {
  let addon: NativeAddon
  try {
    addon = require(file)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const advice = isBundled() ? `. ${UNBUNDLE}` : ''
    throw unsupported(systemProblem() ?? `the addon was found but could not be loaded: ${reason}${advice}`, cause)
  }
  const { version } = require('../package.json') as { version: string }
  if (addon.version() !== version) {
    throw unsupported(`mlx-serving ${version} found an addon of version ${addon.version()}: install or build it again`)
  }
  return addon
}

function unsupported(message: string, cause?: unknown): Error {
  return errorOf('UnsupportedPlatform', message, { cause })
}
