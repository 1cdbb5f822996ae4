// Runs cargo for release builds. The result contains no path of the machine that built it.
// Every release build uses these flags: builds with different flags would recompile each other's crates.

import { homedir } from 'node:os'
import { join } from 'node:path'
import { lines } from './command.mjs'
import { root } from './repository.mjs'

/** The oldest macOS that the package and MLX's released binary support. */
export const OLDEST_MACOS = '14.0'

/** Runs cargo for a release and passes each of its messages to `take`. Its progress stays on the terminal. */
export function cargoRelease(args, take, environment = {}) {
  const all = [...args, '--locked', '--message-format=json-render-diagnostics']
  return lines('cargo', all, line => take(JSON.parse(line)), { env: { ...releaseEnvironment(), ...environment } })
}

/** Panic messages name source files; the flags remap the paths of this machine. */
export function releaseEnvironment() {
  const sources = join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'registry', 'src')
  const flags = [
    ...(process.env.RUSTFLAGS ?? '').split(' ').filter(Boolean),
    `--remap-path-prefix=${sources}=crates`,
    `--remap-path-prefix=${root}=mlx-serving`,
  ]
  return { ...process.env, CARGO_ENCODED_RUSTFLAGS: flags.join('\u001f'), MACOSX_DEPLOYMENT_TARGET: OLDEST_MACOS }
}
