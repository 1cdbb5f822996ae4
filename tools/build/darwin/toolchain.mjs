// Compiling for Apple silicon on a machine that is no Mac: which tools do it, and what cargo has to be told of them.
//
// zig is the C and C++ compiler (it comes with the headers of Apple's C library and of libc++), the Rust toolchain's own
// lld links and signs ad hoc. No SDK of Apple's is needed: what is linked against are stubs, lists of the symbols that a
// library has. libSystem's comes with zig; libc++ and libiconv are in stubs/. A release is built on a Mac; this shows on
// any machine that the Mac's code compiles, links and finds its symbols.

import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quiet } from '../command.mjs'
import { Failure } from '../failure.mjs'
import { digestOf } from '../freshness.mjs'
import { at } from '../repository.mjs'
import { phase } from '../terminal.mjs'
import { wheels } from '../wheels.mjs'

const here = (...parts) => at('tools', 'build', 'darwin', ...parts)
/** Apart from the builds for this machine, whose build scripts are compiled with other flags. */
const TARGET_FOLDER = at('target', 'darwin')

/** What cargo is called with, and in which environment, to build for a Mac. */
export async function crossCompiling(target) {
  if (target.triple !== 'aarch64-apple-darwin') throw new Failure(`${target.name} is built on a machine of its kind.`)
  const rust = (await quiet('rustc', ['--print', 'sysroot'])).trim()
  await haveStandardLibrary(rust, target.triple)
  return {
    args: ['--target', target.triple, '--target-dir', TARGET_FOLDER],
    environment: {
      ...tools(target.triple),
      // Keeps rustc and the cc crate from asking for Xcode's.
      SDKROOT: await makeSdk(),
      MLX_SERVING_ZIG: join(await zig(), 'zig'),
      MLX_SERVING_LD64: await linker(rust),
      MLX_SERVING_TOOLCHAIN: digestOf(['tools/build/darwin', 'tools/build/wheels/zig.txt']),
    },
  }
}

/** The folder of the stubs an addon for a Mac is linked against: Xcode's on a Mac, elsewhere the ones made here. */
export async function systemStubs() {
  const sdk = process.platform === 'darwin' ? (await quiet('xcrun', ['--show-sdk-path'])).trim() : await makeSdk()
  return join(sdk, 'usr', 'lib')
}

/** The variables by which cargo and the cc crate find a compiler for the target. */
function tools(triple) {
  const name = triple.replaceAll('-', '_')
  const tool = file => {
    chmodSync(here(file), 0o755) // a checkout from an archive may have lost it
    return here(file)
  }
  return {
    [`CC_${name}`]: tool('compiler.mjs'),
    [`CXX_${name}`]: tool('compiler.mjs'),
    [`AR_${name}`]: tool('archiver.mjs'),
    [`CARGO_TARGET_${name.toUpperCase()}_LINKER`]: tool('linker.mjs'),
  }
}

async function haveStandardLibrary(rust, triple) {
  if (existsSync(join(rust, 'lib', 'rustlib', triple, 'lib'))) return
  await phase(`Fetching Rust's standard library for ${triple} (rustup)`, () =>
    quiet('rustup', ['target', 'add', triple]),
  )
}

/** lld under the name by which it speaks as Apple's linker does. */
async function linker(rust) {
  const [, host] = /^host: (.*)$/m.exec(await quiet('rustc', ['--version', '--verbose']))
  const found = join(rust, 'lib', 'rustlib', host, 'bin', 'gcc-ld', 'ld64.lld')
  if (existsSync(found)) return found
  throw new Failure(`This Rust toolchain comes without lld (${found}). Install Rust with rustup: https://rustup.rs`)
}

const zig = async () => join(await wheels('zig'), 'ziglang')

/** A folder that the linker takes for the root of a Mac's libraries. */
async function makeSdk() {
  const sdk = join(TARGET_FOLDER, 'sdk')
  const libraries = join(sdk, 'usr', 'lib')
  mkdirSync(libraries, { recursive: true })
  for (const name of readdirSync(here('stubs'))) copyFileSync(here('stubs', name), join(libraries, name))
  const stub = readFileSync(join(await zig(), 'lib', 'libc', 'darwin', 'libSystem.tbd'), 'utf8')
  writeFileSync(join(libraries, 'libSystem.tbd'), forArm64(stub))
  return sdk
}

/** System libraries are listed as arm64e, which is what a program for arm64 is linked against; lld wants them to match. */
const forArm64 = stub => stub.replace(/,?\s*arm64e\.x1-\w+/g, '').replaceAll('arm64e-', 'arm64-')
