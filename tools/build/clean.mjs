// `npm run clean`: removes everything that is built or installed here. MLX's released binaries stay in the user's cache
// folder, which all checkouts share.

import { readdirSync, rmSync } from 'node:fs'
import { main } from './failure.mjs'
import { at } from './repository.mjs'

const BUILT = /\.(node|so|dylib|metallib|tgz|new)$|\.so\./

await main(() => {
  for (const folder of ['target', 'dist', 'coverage', 'node_modules'])
    rmSync(at(folder), { recursive: true, force: true })
  for (const folder of readdirSync(at('npm'))) {
    for (const name of readdirSync(at('npm', folder))) {
      if (BUILT.test(name)) rmSync(at('npm', folder, name))
    }
  }
})
