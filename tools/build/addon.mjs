// The addon: cargo builds it, and it is laid into its platform's package folder beside the libraries it loads.
// Owns that layout. Which libraries and where they are is known to native/mlx-sys; the root build.rs passes it on.
// Compiling for a Mac where there is none is darwin/toolchain.mjs's.

import { constants, copyFileSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cargoRelease } from './cargo.mjs'
import { crossCompiling } from './darwin/toolchain.mjs'
import { Failure } from './failure.mjs'
import { keepFresh } from './freshness.mjs'
import { platform } from './repository.mjs'
import { phase } from './terminal.mjs'

const INPUTS = ['Cargo.toml', 'Cargo.lock', 'build.rs', 'rust-toolchain.toml', 'src', 'native']
const SCRIPTS = ['tools/build/addon.mjs', 'tools/build/cargo.mjs', 'tools/build/darwin']
const NAME = 'mlx-serving.node'

/** Builds the addon for this platform or, on any machine, for a Mac, if its sources changed. */
export async function buildAddon(target = platform()) {
  const outputs = [join(target.folder, NAME)]
  const facts = [process.env.RUSTFLAGS ?? '']
  await keepFresh({ name: `addon-${target.name}`, inputs: [...INPUTS, ...SCRIPTS], outputs, facts }, async () => {
    const { args, environment } = target.name === platform().name ? {} : await crossCompiling(target)
    const title = `Building the engine for ${target.name} (cargo build --release)`
    const built = await phase(title, () => cargoBuild(target, args, environment), { speaks: true })
    await phase('Laying out the platform package', () => layOut(target, built))
  })
}

/** Cargo's messages say where the results are, wherever its target folder is. */
async function cargoBuild(target, args = [], environment = {}) {
  const built = {}
  await cargoRelease(['build', '--release', '--lib', ...args], message => note(message, target, built), environment)
  if (built.addon && built.libraries) return built
  throw new Failure('cargo did not say where it put the addon and the libraries it needs.')
}

function note(message, target, built) {
  if (message.target?.name === 'mlx_serving' && message.reason === 'compiler-artifact') {
    built.addon = message.filenames.find(path => path.endsWith(target.addon))
  }
  if (message.reason === 'build-script-executed') {
    const told = Object.fromEntries(message.env)
    built.libraries = told.MLX_SERVING_LIBRARIES ?? built.libraries
  }
}

function layOut({ folder, companion }, { addon, libraries }) {
  mkdirSync(folder, { recursive: true })
  const wanted = readdirSync(libraries).filter(name => companion.test(name))
  for (const name of readdirSync(folder)) {
    if (companion.test(name) && !wanted.includes(name)) rmSync(join(folder, name))
  }
  for (const name of wanted) place(join(libraries, name), join(folder, name))
  place(addon, join(folder, NAME))
}

/** Renames into place: a process that has the old file loaded keeps it whole. */
function place(from, to) {
  copyFileSync(from, `${to}.new`, constants.COPYFILE_FICLONE)
  renameSync(`${to}.new`, to)
}
