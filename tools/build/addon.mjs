// Builds the addon with cargo and copies it into the package folder of its platform, beside the libraries that it loads.
// Owns that layout. native/mlx-sys knows the libraries and their folder; the root build.rs passes the folder on.
// darwin/toolchain.mjs compiles for a Mac on other machines.

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

/** Reads the paths of the results from cargo's messages: the target folder may be anywhere. */
async function cargoBuild(target, args = [], environment = {}) {
  const built = {}
  await cargoRelease(['build', '--release', '--lib', ...args], message => note(message, target, built), environment)
  if (built.addon && built.libraries) return built
  throw new Failure('cargo did not report the paths of the addon and of the libraries it needs.')
}

function note(message, target, built) {
  if (message.target?.name === 'mlx_serving' && message.reason === 'compiler-artifact') {
    built.addon = message.filenames.find(path => path.endsWith(target.addon))
  }
  if (message.reason === 'build-script-executed') {
    const reported = Object.fromEntries(message.env)
    built.libraries = reported.MLX_SERVING_LIBRARIES ?? built.libraries
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

/** Renames into place, so that a process that has loaded the old file keeps it intact. */
function place(from, to) {
  copyFileSync(from, `${to}.new`, constants.COPYFILE_FICLONE)
  renameSync(`${to}.new`, to)
}
