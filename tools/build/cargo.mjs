// How cargo builds what is shipped, wherever it is called for that: nothing of it may say which machine built it.
// Every call for a release goes through here, or one call would undo what the other has compiled.

import { homedir } from 'node:os'
import { join } from 'node:path'
import { lines } from './command.mjs'
import { root } from './repository.mjs'

/** The oldest macOS the package runs on: what MLX's released binary is made for. */
export const OLDEST_MACOS = '14.0'

/** Runs cargo for a release, and hands each of its messages to `take`; its progress stays on the terminal. */
export function cargoRelease(args, take, environment = {}) {
  const all = [...args, '--locked', '--message-format=json-render-diagnostics']
  return lines('cargo', all, line => take(JSON.parse(line)), { env: { ...releaseEnvironment(), ...environment } })
}

/** Panic messages name their source files: not with the paths these have here. */
export function releaseEnvironment() {
  const sources = join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'registry', 'src')
  const flags = [
    ...(process.env.RUSTFLAGS ?? '').split(' ').filter(Boolean),
    `--remap-path-prefix=${sources}=crates`,
    `--remap-path-prefix=${root}=mlx-serving`,
  ]
  return { ...process.env, CARGO_ENCODED_RUSTFLAGS: flags.join('\u001f'), MACOSX_DEPLOYMENT_TARGET: OLDEST_MACOS }
}
