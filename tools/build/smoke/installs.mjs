// How each package manager installs the package from a registry into an empty folder, and how Node is started there.
// Each has a cache folder of this run, so that it cannot find another build of the same version.

import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quiet } from '../command.mjs'
import { platforms } from '../repository.mjs'
import { tool } from './tools.mjs'

/** Settings of the user's environment that would change the installation. */
const FOREIGN = /^(npm_|YARN_|PNPM_|BUN_|NODE_OPTIONS)/i
const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !FOREIGN.test(name)))

/** Bun's name of the architecture. */
const ARCHITECTURE = process.arch === 'arm64' ? 'aarch64' : process.arch

const npm = (...options) => ({
  title: ['npm', ...options].join(' '),
  install: async ({ folder, url, kept, packages }) => {
    const settings = { ...own, npm_config_registry: url, npm_config_cache: join(kept, 'npm') }
    const args = ['install', '--no-audit', '--no-fund', ...options, ...packages]
    await quiet('npm', args, { cwd: folder, env: settings })
    return { args: [], environment: own }
  },
})

export const NPM = npm()
export const NPM_WITHOUT_SCRIPTS = npm('--ignore-scripts')
export const NPM_WITHOUT_OPTIONAL = npm('--omit=optional')

const pnpm = {
  title: 'pnpm',
  install: async ({ folder, url, kept }) => {
    const program = tool('pnpm', 'bin', 'pnpm.cjs')
    const args = [program, 'add', 'mlx-serving', `--registry=${url}`, `--store-dir=${join(kept, 'pnpm')}`]
    const settings = { ...own, XDG_CACHE_HOME: join(kept, 'cache') }
    await quiet(process.execPath, args, { cwd: folder, env: settings })
    return { args: [], environment: own }
  },
}

/** With Plug'n'Play, the default of yarn: no node_modules; a loader tells Node where packages are. */
const yarn = {
  title: "yarn (Plug'n'Play)",
  install: async ({ folder, url, kept }) => {
    const settings = {
      ...own,
      YARN_NPM_REGISTRY_SERVER: url.replace(/\/$/, ''),
      YARN_UNSAFE_HTTP_WHITELIST: '127.0.0.1',
      YARN_GLOBAL_FOLDER: join(kept, 'yarn'),
      YARN_ENABLE_TELEMETRY: '0',
      YARN_PNP_ENABLE_ESM_LOADER: 'true',
      YARN_ENABLE_IMMUTABLE_INSTALLS: 'false',
    }
    const program = tool('@yarnpkg', 'cli-dist', 'bin', 'yarn.js')
    // Without its own lock file, yarn takes the folder for a part of a project above it.
    writeFileSync(join(folder, 'yarn.lock'), '')
    await quiet(process.execPath, [program, 'add', 'mlx-serving'], { cwd: folder, env: settings })
    const loader = join(folder, '.pnp.loader.mjs')
    return {
      args: ['--no-warnings', '--require', join(folder, '.pnp.cjs'), '--experimental-loader', loader],
      environment: own,
    }
  },
}

const bun = {
  title: 'bun',
  install: async ({ folder, url, kept }) => {
    const settings = { ...own, npm_config_registry: url, BUN_INSTALL_CACHE_DIR: join(kept, 'bun') }
    await quiet(tool('@oven', `bun-${process.platform}-${ARCHITECTURE}`, 'bin', 'bun'), ['add', 'mlx-serving'], {
      cwd: folder,
      env: settings,
    })
    return { args: [], environment: own }
  },
}

/** The package managers that are tested besides plain npm. */
export const OTHERS = [NPM_WITHOUT_SCRIPTS, pnpm, yarn, bun]

/** Makes an empty project and installs the package with the package manager. Only npm also installs other `packages`. */
export async function installInto(folder, manager, { url, kept, packages = ['mlx-serving'] }) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "name": "smoke", "private": true }')
  return manager.install({ folder, url, kept, packages })
}

/** The platform packages in a folder that npm installed into. */
export function installedPlatforms(folder) {
  const names = readdirSync(join(folder, 'node_modules'))
  return platforms().filter(target => names.includes(target.package))
}
