// `npm run build`: everything that has to be there before the engine can be used from JavaScript. Does nothing, quickly,
// when nothing changed. Uses only what comes with Node: it is what installs the rest.

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
