// The measured model folders. No model may end an answer early, because sides would do different work: random models have no
// end token, and the demo model is copied without its end token.

import { cpSync, existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quiet } from '../tools/build/command.mjs'
import { at, readJson } from '../tools/build/repository.mjs'
import { cached } from './cache.mjs'

export const DEMO = at('models', 'demo')

/** The folder of a model. Made on first use. */
export async function modelFolder(name, interpreter) {
  if (name === 'demo') return endlessDemo()
  const folder = cached(`model-${name}`)
  if (!existsSync(folder)) {
    const unfinished = `${folder}.new`
    rmSync(unfinished, { recursive: true, force: true })
    await quiet(interpreter, [at('bench', 'random_models.py'), name, unfinished])
    renameSync(unfinished, folder)
  }
  return folder
}

/** The folder of a model with a vocabulary of real text. The tokens of a random model are numbered words. */
export async function speakingFolder(name, interpreter) {
  const folder = await modelFolder(name, interpreter)
  if (name === 'demo') return folder
  const speaking = cached(`model-${name}-speaking`)
  rmSync(speaking, { recursive: true, force: true })
  cpSync(folder, speaking, { recursive: true })
  cpSync(join(DEMO, 'tokenizer.json'), join(speaking, 'tokenizer.json'))
  return speaking
}

function endlessDemo() {
  const folder = cached('model-demo')
  rmSync(folder, { recursive: true, force: true })
  cpSync(DEMO, folder, { recursive: true })
  for (const name of readdirSync(folder).filter(name => name.endsWith('.json') && name !== 'tokenizer.json')) {
    const { eos_token, eos_token_id, ...kept } = readJson(join(folder, name))
    writeFileSync(join(folder, name), JSON.stringify(kept))
  }
  return folder
}
