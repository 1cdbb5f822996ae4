// A model with given answers: the simulated device generates a fixed sentence, and a tokenizer made for the test gives each
// word of it another text.

import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createEngine, type EngineOptions, type LoadModelOptions } from 'mlx-serving'
import { onTestFinished } from 'vitest'
import { INSTANT, type Ready, ROOT, UNSHARED } from './support.js'

const DEMO = path.join(ROOT, 'models', 'demo')
/** A sentence of the simulated device. After its first words it generates the others. */
const SENTENCE = 'Its words mean nothing, but they come at the speed of a real one.'.split(' ')

/** The end of the prompt, for templates. */
export const PROMPT = SENTENCE[0]
/** The end of the prompt for an answer without text. */
export const PROMPT_OF_NOTHING = SENTENCE.slice(0, -1).join(' ')

type SpeakingOptions = EngineOptions & { profile?: string; load?: LoadModelOptions }

/** The words of the sentence that stand for one answer: its prompt ends with those before. */
interface Part {
  prompt: string
  words: string[]
  /** The end token. */
  end: string
}

/**
 * An engine on a simulated device with a model that gives this answer, in as many pieces as the sentence has words. Its
 * prompts must end with {@link PROMPT}.
 */
export function speaking(answer: string, template: string, options?: SpeakingOptions): Promise<Ready> {
  return open([answer], template, options)
}

/** As {@link speaking}, with an answer for each turn: the first to a conversation without messages of the assistant. */
export function speakingInTurns(answers: string[], template: string, options?: SpeakingOptions): Promise<Ready> {
  const prompts = JSON.stringify(partsOf(answers).map(({ prompt }) => prompt))
  const turn =
    "{% set ns = namespace(turn=0) %}{% for m in messages if m.role == 'assistant' %}{% set ns.turn = ns.turn + 1 %}{% endfor %}"
  return open(answers, `${template}${turn} {{ ${prompts}[ns.turn] }}`, options)
}

async function open(
  answers: string[],
  template: string,
  { profile = INSTANT, load, ...options }: SpeakingOptions = {},
): Promise<Ready> {
  const dir = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  const parts = partsOf(answers)
  const written: Record<string, object> = {
    'tokenizer.json': tokenizer(answers, parts),
    'tokenizer_config.json': { eos_token: SENTENCE.at(-1), chat_template: template },
    'generation_config.json': { eos_token_id: parts.map(({ end }) => SENTENCE.indexOf(end) + 1) },
  }
  for (const name of await readdir(DEMO)) {
    if (written[name] === undefined) await symlink(path.join(DEMO, name), path.join(dir, name))
    else await writeFile(path.join(dir, name), JSON.stringify(written[name]))
  }
  const engine = await createEngine({ backend: { simulated: profile }, ...UNSHARED, ...options })
  onTestFinished(() => engine.dispose())
  return { engine, model: await engine.loadModel({ path: dir, ...load }) }
}

/** Divides the sentence among the answers. */
function partsOf(answers: string[]): Part[] {
  const size = Math.floor((SENTENCE.length - 1) / answers.length)
  return answers.map((_, index) => {
    const from = 1 + index * size
    const to = index === answers.length - 1 ? SENTENCE.length - 1 : from + size - 1
    return { prompt: SENTENCE.slice(0, from).join(' '), words: SENTENCE.slice(from, to), end: SENTENCE[to] }
  })
}

function tokenizer(answers: string[], parts: Part[]): object {
  const texts = parts.flatMap(({ words, end }, index) => {
    const size = Math.ceil(answers[index].length / words.length)
    const pieces = words.map((word, at) => replace(word, answers[index].slice(at * size, (at + 1) * size)))
    return [...pieces, replace(end, '')]
  })
  const vocab = Object.fromEntries(['<unk>', ...SENTENCE].map((word, id) => [word, id]))
  return {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: { type: 'Sequence', decoders: [...texts, { type: 'Fuse' }] },
    model: { type: 'WordLevel', vocab, unk_token: '<unk>' },
  }
}

function replace(word: string, content: string): object {
  return { type: 'Replace', pattern: { Regex: `^${word.replace('.', '\\.')}$` }, content }
}
