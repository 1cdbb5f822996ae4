#!/usr/bin/env node
// The linker that cargo is given for a Mac: lld, which also signs ad hoc, without which nothing runs on Apple silicon.
// Turns the arguments for a compiler that links, which are what rustc passes, into those of the linker itself.

import { run, withoutTarget } from './run.mjs'

/** Parts of libSystem, which have names of their own on a Mac for the sake of old programs. */
const IN_LIBSYSTEM = new Set(['-lc', '-lm'])
const RENAMED = { '-dynamiclib': '-dylib' }

const given = withoutTarget(process.argv.slice(2))
  .flatMap(argument => (argument.startsWith('-Wl') ? argument.split(',').slice(1) : [argument]))
  .filter(argument => argument !== '-nodefaultlibs' && !IN_LIBSYSTEM.has(argument))
  .map(argument => RENAMED[argument] ?? argument)

const oldest = process.env.MACOSX_DEPLOYMENT_TARGET
const platform = ['-arch', 'arm64', '-platform_version', 'macos', oldest, oldest, '-syslibroot', process.env.SDKROOT]
run(process.env.MLX_SERVING_LD64, [...platform, ...given])
