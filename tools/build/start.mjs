// `npm start`: builds what is missing, then runs the example that asks the bundled model several questions at once.
// `npm start -- "What is 12 + 7?"` asks that one.

import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { main } from './failure.mjs'
import { at } from './repository.mjs'

await main(async () => {
  await build()
  // Known only now to exist: the example imports the package this repository builds.
  await import(pathToFileURL(at('examples', 'start.mjs')).href)
})
