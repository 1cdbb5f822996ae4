// Finds and loads the addon: from the platform package that npm installed, or from this checkout's npm/ folder after a
// build. Every way this can fail has a message of its own that says what to do. Nothing is loaded before it is needed.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { errorOf } from './errors'
import type { NativeAddon } from './native'
import { linuxProblem, macProblem, platformPackage, unknownPlatform } from './system'

const NAME = 'mlx-serving'
const ADDON_FILE = 'mlx-serving.node'
/** MLX looks for its Metal kernels beside itself. */
const KERNELS_FILE = 'mlx.metallib'

let loaded: NativeAddon | undefined

/** The addon of this platform; loaded once a thread. */
export function loadAddon(): NativeAddon {
  loaded ??= open(locate())
  return loaded
}

/** The model that ships with the package. */
export function demoModel(): string {
  return path.join(root(), 'models', 'demo')
}

/** The root of the package: dist/ and lib/ are both one level below it. A bundle of this code is elsewhere. */
function root(): string {
  const above = path.join(__dirname, '..')
  return existsSync(path.join(above, 'models', 'demo')) ? above : (folderOf(NAME) ?? above)
}

/** Where a package is installed; what its name is, no bundler needs to know. */
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
    throw unsupported(systemProblem() ?? `the addon was found but could not be loaded: ${reason}`, cause)
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
