// Compiles for Apple silicon on a machine that is not a Mac: selects the tools and configures cargo for them.
//
// zig is the C and C++ compiler; it contains the headers of Apple's C library and of libc++. The Rust toolchain's lld links
// and signs ad hoc. Apple's SDK is not needed: the linker uses stubs, which list the symbols of a library. The stub of
// libSystem comes with zig; those of libc++ and libiconv are in stubs/. A release is built on a Mac. This build shows on any
// machine that the code for a Mac compiles, links and finds its symbols.

import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quiet } from '../command.mjs'
import { Failure } from '../failure.mjs'
import { digestOf } from '../freshness.mjs'
import { at } from '../repository.mjs'
import { phase } from '../terminal.mjs'
import { wheels } from '../wheels.mjs'

const here = (...parts) => at('tools', 'build', 'darwin', ...parts)
/** A separate target folder: builds for this machine compile build scripts with other flags. */
const TARGET_FOLDER = at('target', 'darwin')

/** Cargo's arguments and environment for a build for a Mac. */
export async function crossCompiling(target) {
  if (target.triple !== 'aarch64-apple-darwin')
    throw new Failure(`${target.name} can only be built on a machine of that platform.`)
  const rust = await sysroot()
  await haveStandardLibrary(target.triple)
  return {
    args: ['--target', target.triple, '--target-dir', TARGET_FOLDER],
    environment: {
      ...tools(target.triple),
      // Without it, rustc and the cc crate look for Xcode's SDK.
      SDKROOT: await makeSdk(),
      MLX_SERVING_ZIG: join(await zig(), 'zig'),
      MLX_SERVING_LD64: await linker(rust),
      MLX_SERVING_TOOLCHAIN: digestOf(['tools/build/darwin', 'tools/build/wheels/zig.txt']),
    },
  }
}

/** The folder of the stubs against which an addon for a Mac is linked: Xcode's on a Mac, elsewhere those made here. */
export async function systemStubs() {
  const sdk = process.platform === 'darwin' ? (await quiet('xcrun', ['--show-sdk-path'])).trim() : await makeSdk()
  return join(sdk, 'usr', 'lib')
}

/** The variables by which cargo and the cc crate find a compiler for the target. */
function tools(triple) {
  const name = triple.replaceAll('-', '_')
  const tool = file => {
    chmodSync(here(file), 0o755) // an unpacked archive may have lost the mode
    return here(file)
  }
  return {
    [`CC_${name}`]: tool('compiler.mjs'),
    [`CXX_${name}`]: tool('compiler.mjs'),
    [`AR_${name}`]: tool('archiver.mjs'),
    [`CARGO_TARGET_${name.toUpperCase()}_LINKER`]: tool('linker.mjs'),
  }
}

const sysroot = async () => (await quiet('rustc', ['--print', 'sysroot'])).trim()

/** Installs Rust's standard library for a target if it is missing. */
export async function haveStandardLibrary(triple) {
  if (existsSync(join(await sysroot(), 'lib', 'rustlib', triple, 'lib'))) return
  await phase(`Fetching Rust's standard library for ${triple} (rustup)`, () =>
    quiet('rustup', ['target', 'add', triple]),
  )
}

/** lld under the name that selects the interface of Apple's linker. */
async function linker(rust) {
  const [, host] = /^host: (.*)$/m.exec(await quiet('rustc', ['--version', '--verbose']))
  const found = join(rust, 'lib', 'rustlib', host, 'bin', 'gcc-ld', 'ld64.lld')
  if (existsSync(found)) return found
  throw new Failure(`This Rust toolchain comes without lld (${found}). Install Rust with rustup: https://rustup.rs`)
}

const zig = async () => join(await wheels('zig'), 'ziglang')

/** A folder that the linker uses as the root of a Mac's libraries. */
async function makeSdk() {
  const sdk = join(TARGET_FOLDER, 'sdk')
  const libraries = join(sdk, 'usr', 'lib')
  mkdirSync(libraries, { recursive: true })
  for (const name of readdirSync(here('stubs'))) copyFileSync(here('stubs', name), join(libraries, name))
  const stub = readFileSync(join(await zig(), 'lib', 'libc', 'darwin', 'libSystem.tbd'), 'utf8')
  writeFileSync(join(libraries, 'libSystem.tbd'), forArm64(stub))
  return sdk
}

/** Stubs list system libraries as arm64e. lld needs the architecture of the program, arm64. */
const forArm64 = stub => stub.replace(/,?\s*arm64e\.x1-\w+/g, '').replaceAll('arm64e-', 'arm64-')
