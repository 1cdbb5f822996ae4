// Shared by the replacements of Apple's tools: each ends with the exit code of the program that it runs.

import { spawnSync } from 'node:child_process'

/** Runs the program and takes over its exit code. */
export function run(program, args) {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit' })
  if (error) console.error(`${program}: ${error.message}`)
  process.exitCode = status ?? 1
}

/** Arguments that select the system and the SDK. The replacements set these themselves. */
const WITH_VALUE = new Set(['-target', '-arch', '-isysroot'])
const ALONE = /^(--target=|-mmacosx-version-min=|-mtargetos=)/

/** The arguments without the ones above. */
export const withoutTarget = args =>
  args.filter((argument, n) => !WITH_VALUE.has(argument) && !WITH_VALUE.has(args[n - 1]) && !ALONE.test(argument))
