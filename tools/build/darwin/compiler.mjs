#!/usr/bin/env node
// The C and C++ compiler of cargo's build scripts for a Mac: zig, for the oldest macOS that the package supports. Takes the
// arguments that the cc crate passes to Apple's clang, without those that this script sets.

import { tmpdir } from 'node:os'
import { run, withoutTarget } from './run.mjs'

const target = ['-target', `aarch64-macos.${process.env.MACOSX_DEPLOYMENT_TARGET}`]

/**
 * libc++'s headers are newer than the libc++ of that macOS. Availability annotations make them avoid newer functions, or
 * refuse to compile.
 */
const markup = ['-U', '-D']
  .map((option, defined) => `${option}_LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS${defined ? '=1' : ''}`)
  .flatMap(argument => ['-Xclang', argument])

const given = process.argv.slice(2)
const isCpp = given.some(argument => /\.(cpp|cc)$|^-std=c\+\+/.test(argument))
const fixed = isCpp ? ['c++', ...target, ...markup] : ['cc', ...target]
if (given.includes('--version')) {
  // Caches of compiled files identify a compiler by this output.
  console.log(target.concat(markup).join(' '))
  // zig writes an empty object file even here.
  process.chdir(tmpdir())
}
run(process.env.MLX_SERVING_ZIG, [...fixed, ...withoutTarget(given)])
