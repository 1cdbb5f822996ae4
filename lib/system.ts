// Whether the addon runs on this system: its platform package, and whether the system is too old. On a Mac this is checked
// before loading, because loading on an old macOS does not fail. On Linux it is checked after a failure, because it is slow.

import { release } from 'node:os'

const PLATFORM_PACKAGES: Record<string, string> = {
  'darwin-arm64': 'mlx-serving-darwin-arm64',
  'linux-x64': 'mlx-serving-linux-x64-gnu',
}

/** The Darwin version of macOS 14. For macOS 11 to 15, Darwin's number is nine more. */
const OLDEST_DARWIN = 23
const DARWIN_AHEAD = 9
const OLDEST_GLIBC = '2.35'

/** The name of the package with this platform's addon, if there is one. */
export function platformPackage(): string | undefined {
  return PLATFORM_PACKAGES[`${process.platform}-${process.arch}`]
}

/** The message about a platform without a package. */
export function unknownPlatform(): string {
  const known = Object.keys(PLATFORM_PACKAGES).join(', ')
  // An Intel Mac, or Node for Intel on Apple silicon; Node cannot distinguish them.
  const advice =
    process.platform === 'darwin' ? '; on a Mac with Apple silicon, install the arm64 build of Node.js' : ''
  return `mlx-serving does not run on ${process.platform}-${process.arch}; it runs on ${known}${advice}`
}

/** The message about a Mac that is too old. Its loader accepts libraries for a newer macOS, which fail when used. */
export function macProblem(): string | undefined {
  const darwin = Number.parseInt(release(), 10)
  if (darwin >= OLDEST_DARWIN) return undefined
  return `mlx-serving needs macOS 14 or newer; this is macOS ${darwin - DARWIN_AHEAD} (Darwin ${release()})`
}

/** The message about a C library that is too old or missing. Takes some milliseconds, so it is used after a failure only. */
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
