// What the stand-ins for Apple's tools share: they end as the program does that they stand in for.

import { spawnSync } from 'node:child_process'

/** Runs the program in the place of this one. */
export function run(program, args) {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit' })
  if (error) console.error(`${program}: ${error.message}`)
  process.exitCode = status ?? 1
}

/** The arguments that say for which system and from which SDK, which the stand-ins decide themselves. */
const WITH_VALUE = new Set(['-target', '-arch', '-isysroot'])
const ALONE = /^(--target=|-mmacosx-version-min=|-mtargetos=)/

/** The arguments without those. */
export const withoutTarget = args =>
  args.filter((argument, n) => !WITH_VALUE.has(argument) && !WITH_VALUE.has(args[n - 1]) && !ALONE.test(argument))
