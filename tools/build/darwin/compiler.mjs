#!/usr/bin/env node
// The C and C++ compiler that cargo's build scripts are given for a Mac: zig, for the oldest macOS the package runs on.
// Knows the arguments the cc crate passes to Apple's clang, and leaves out those that are decided here.

import { tmpdir } from 'node:os'
import { run, withoutTarget } from './run.mjs'

const target = ['-target', `aarch64-macos.${process.env.MACOSX_DEPLOYMENT_TARGET}`]

/**
 * libc++'s headers are newer than the libc++ of that macOS. Marked up with what came in which release, they do without
 * what is not there yet, or refuse to compile.
 */
const markup = ['-U', '-D']
  .map((option, defined) => `${option}_LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS${defined ? '=1' : ''}`)
  .flatMap(argument => ['-Xclang', argument])

const given = process.argv.slice(2)
const isCpp = given.some(argument => /\.(cpp|cc)$|^-std=c\+\+/.test(argument))
const fixed = isCpp ? ['c++', ...target, ...markup] : ['cc', ...target]
if (given.includes('--version')) {
  // Compilers are told apart by what they say here, and what one has compiled is kept.
  console.log(target.concat(markup).join(' '))
  // zig leaves an empty object behind even so.
  process.chdir(tmpdir())
}
run(process.env.MLX_SERVING_ZIG, [...fixed, ...withoutTarget(given)])
