// Whether this system is one the addon runs on: which platform package is its, and why it may still be too old for it.
// Asked before the addon is loaded where loading would not fail, and afterwards where asking costs more than loading.

import { release } from 'node:os'

const PLATFORM_PACKAGES: Record<string, string> = {
  'darwin-arm64': 'mlx-serving-darwin-arm64',
  'linux-x64': 'mlx-serving-linux-x64-gnu',
}

/** The kernel of macOS 14. The kernels of macOS 11 to 15 are numbered nine ahead. */
const OLDEST_DARWIN = 23
const DARWIN_AHEAD = 9
const OLDEST_GLIBC = '2.35'

/** The package with this platform's addon, if there is one. */
export function platformPackage(): string | undefined {
  return PLATFORM_PACKAGES[`${process.platform}-${process.arch}`]
}

/** Why there is no package for this platform, and for which there are. */
export function unknownPlatform(): string {
  const known = Object.keys(PLATFORM_PACKAGES).join(', ')
  // An Intel Mac, or Node for one on Apple silicon, which knows nothing of the difference.
  const advice =
    process.platform === 'darwin' ? '; on a Mac with Apple silicon, install the arm64 build of Node.js' : ''
  return `mlx-serving does not run on ${process.platform}-${process.arch}; it runs on ${known}${advice}`
}

/** What is too old here on a Mac. macOS loads libraries made for a newer one, and they fail when they are used. */
export function macProblem(): string | undefined {
  const darwin = Number.parseInt(release(), 10)
  if (darwin >= OLDEST_DARWIN) return undefined
  return `mlx-serving needs macOS 14 or newer; this is macOS ${darwin - DARWIN_AHEAD} (Darwin ${release()})`
}

/** What is wrong with the C library here. The report this reads takes some milliseconds: asked after a failure only. */
export function linuxProblem(): string | undefined {
  const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  const glibc = header?.glibcVersionRuntime
  if (glibc === undefined) {
    return 'mlx-serving needs glibc; this Linux uses musl (Alpine): use a Debian based image'
  }
  if (isOlder(glibc, OLDEST_GLIBC)) {
    return `mlx-serving needs glibc ${OLDEST_GLIBC} or newer (Ubuntu 22.04, Debian 12); this system has ${glibc}`
  }
  return undefined
}

function isOlder(version: string, oldest: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [oldestMajor = 0, oldestMinor = 0] = oldest.split('.').map(Number)
  return major < oldestMajor || (major === oldestMajor && minor < oldestMinor)
}
