// Finds and loads the addon: from the platform package that npm installed, or from this checkout's npm/ folder after a
// build. Every way this can fail has a message of its own that says what to do. Nothing is loaded before it is needed.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { errorOf } from './errors'
import type { NativeAddon } from './native'

/** The root of the package: dist/ and lib/ are both one level below it. */
const ROOT = path.join(__dirname, '..')
const ADDON_FILE = 'mlx-serving.node'
const PLATFORM_PACKAGES: Record<string, string> = {
  'darwin-arm64': 'mlx-serving-darwin-arm64',
  'linux-x64': 'mlx-serving-linux-x64-gnu',
}

/** The model that ships with the package. */
export const DEMO_MODEL = path.join(ROOT, 'models', 'demo')

let loaded: NativeAddon | undefined

/** The addon of this platform; loaded once a thread. */
export function loadAddon(): NativeAddon {
  loaded ??= open(locate())
  return loaded
}

function locate(): string {
  const platform = `${process.platform}-${process.arch}`
  const name = PLATFORM_PACKAGES[platform]
  if (name === undefined) {
    const known = Object.keys(PLATFORM_PACKAGES).join(', ')
    throw unsupported(`mlx-serving does not run on ${platform}; it runs on ${known}`)
  }
  const file = installed(name) ?? path.join(ROOT, 'npm', name.slice('mlx-serving-'.length), ADDON_FILE)
  if (existsSync(file)) return file
  if (isMusl()) throw unsupported('mlx-serving needs glibc; this Linux uses musl (Alpine): use a Debian based image')
  throw unsupported(
    `the package ${name} is not installed. Install without --omit=optional; if a lockfile from another platform left ` +
      'it out, remove node_modules and package-lock.json and run `npm install` again. In a checkout: `npm run build`',
  )
}

function installed(name: string): string | undefined {
  try {
    return path.join(path.dirname(require.resolve(`${name}/package.json`)), ADDON_FILE)
  } catch {
    return undefined
  }
}

function open(file: string): NativeAddon {
  let addon: NativeAddon
  try {
    addon = require(file)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw unsupported(`the addon was found but could not be loaded: ${reason}`, cause)
  }
  const { version } = require('../package.json') as { version: string }
  if (addon.version() !== version) {
    throw unsupported(`mlx-serving ${version} found an addon of version ${addon.version()}: install or build it again`)
  }
  return addon
}

function isMusl(): boolean {
  if (process.platform !== 'linux') return false
  const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return header?.glibcVersionRuntime === undefined
}

function unsupported(message: string, cause?: unknown): Error {
  return errorOf('UnsupportedPlatform', message, { cause })
}
