// `npm run build`: builds what JavaScript needs to use the engine. Does nothing when nothing changed. Imports only modules
// of Node, because this script installs all other packages.

import { pathToFileURL } from 'node:url'
import { buildAddon } from './addon.mjs'
import { installPackages } from './dependencies.mjs'
import { main } from './failure.mjs'
import { buildSkin } from './skin.mjs'

/** Installs and builds what is missing or out of date. */
export async function build() {
  await installPackages()
  await buildAddon()
  await buildSkin()
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(build)
