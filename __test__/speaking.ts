// A model with a given answer: the simulated device generates a fixed sentence, and a tokenizer made for the test gives each
// word of it another text.

import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createEngine, type EngineOptions, type LoadModelOptions } from 'mlx-serving'
import { onTestFinished } from 'vitest'
import { INSTANT, type Ready, ROOT, UNSHARED } from './support.js'

const DEMO = path.join(ROOT, 'models', 'demo')
/** A sentence of the simulated device. After its first word it generates the others. */
const [FIRST, ...WORDS] = 'Its words mean nothing, but they come at the speed of a real one.'.split(' ')
const LAST = WORDS.pop() as string

/** The end of the prompt, for templates. */
export const PROMPT = FIRST

/**
 * An engine on a simulated device with a model that gives this answer, in as many pieces as the sentence has words. Its
 * prompts must end with {@link PROMPT}.
 */
export async function speaking(
  answer: string,
  template: string,
  { profile = INSTANT, load, ...options }: EngineOptions & { profile?: string; load?: LoadModelOptions } = {},
): Promise<Ready> {
  const dir = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  const written = ['tokenizer.json', 'tokenizer_config.json']
  for (const name of await readdir(DEMO)) {
    if (!written.includes(name)) await symlink(path.join(DEMO, name), path.join(dir, name))
  }
  await writeFile(path.join(dir, 'tokenizer.json'), JSON.stringify(tokenizer(answer)))
  await writeFile(path.join(dir, 'tokenizer_config.json'), JSON.stringify({ eos_token: LAST, chat_template: template }))
  const engine = await createEngine({ backend: { simulated: profile }, ...UNSHARED, ...options })
  onTestFinished(() => engine.dispose())
  return { engine, model: await engine.loadModel({ path: dir, ...load }) }
}

function tokenizer(answer: string): object {
  const words = ['<unk>', FIRST, ...WORDS, LAST]
  const size = Math.ceil(answer.length / WORDS.length)
  const texts = WORDS.map((word, index) => replace(word, answer.slice(index * size, (index + 1) * size)))
  return {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: { type: 'Sequence', decoders: [replace(LAST, ''), ...texts, { type: 'Fuse' }] },
    model: { type: 'WordLevel', vocab: Object.fromEntries(words.map((word, id) => [word, id])), unk_token: '<unk>' },
  }
}

function replace(word: string, content: string): object {
  return { type: 'Replace', pattern: { Regex: `^${word.replace('.', '\\.')}$` }, content }
}
