#!/usr/bin/env node
// The linker of cargo for a Mac: lld. It also signs ad hoc, which Apple silicon requires. rustc passes arguments for a
// compiler that links; this script translates them into arguments of the linker.

import { run, withoutTarget } from './run.mjs'

/** Parts of libSystem; on a Mac they exist under these names for old programs. */
const IN_LIBSYSTEM = new Set(['-lc', '-lm'])
const RENAMED = { '-dynamiclib': '-dylib' }

const given = withoutTarget(process.argv.slice(2))
  .flatMap(argument => (argument.startsWith('-Wl') ? argument.split(',').slice(1) : [argument]))
  .filter(argument => argument !== '-nodefaultlibs' && !IN_LIBSYSTEM.has(argument))
  .map(argument => RENAMED[argument] ?? argument)

const oldest = process.env.MACOSX_DEPLOYMENT_TARGET
const platform = ['-arch', 'arm64', '-platform_version', 'macos', oldest, oldest, '-syslibroot', process.env.SDKROOT]
run(process.env.MLX_SERVING_LD64, [...platform, ...given])
