// Whether an answer's text begins with a space. Tokenizers of the SentencePiece kind write the first word of a text
// without its space. An answer that continues a prompt keeps the space. An answer in a chat is a text of its own and
// loses it.

import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { GenerateParams } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { failure, ROOT, withMlx } from './support.js'

const DEMO = path.join(ROOT, 'models', 'demo')
const WORDS = ['<unk>', '<s>', '</s>', '▁The', '▁sum', '▁is', '▁nine', '▁', 'T', 'h', 'e', '▁T', '▁Th']
const MERGES = ['▁ T', '▁T h', '▁Th e']

/** A model folder with the demo model's weights, a small SentencePiece vocabulary, and this decoder. */
async function sentencePiece(decoder: object | null): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  for (const name of ['config.json', 'model.safetensors']) await symlink(path.join(DEMO, name), path.join(dir, name))
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  const normalizers = [
    { type: 'Prepend', prepend: '▁' },
    { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
  ]
  const tokenizer = {
    added_tokens: [0, 1, 2].map(id => ({ id, content: WORDS[id], ...flags })),
    normalizer: { type: 'Sequence', normalizers },
    pre_tokenizer: null,
    post_processor: null,
    decoder,
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(WORDS.map((word, id) => [word, id])),
      merges: MERGES,
    },
  }
  await writeFile(path.join(dir, 'tokenizer.json'), JSON.stringify(tokenizer))
  const template = '{% for m in messages %}{{ m.content }}{% endfor %}'
  await writeFile(path.join(dir, 'tokenizer_config.json'), JSON.stringify({ chat_template: template }))
  return dir
}

const TRIMMING = {
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ],
}
const NINE = { logitBias: { 6: 100 }, maxTokens: 1 }
const ASSISTANT = { role: 'assistant', content: 'The' } as const

test('an answer that continues a text keeps its first space, and an answer to a chat has none', async () => {
  const { engine } = await withMlx()
  const model = await engine.loadModel(await sentencePiece(TRIMMING))
  const prompts: [Partial<GenerateParams>, string][] = [
    [{ prompt: 'The' }, ' nine'],
    [{ prompt: { tokens: [3] } }, ' nine'],
    [{ prompt: { tokens: [1] } }, 'nine'],
    [{ prompt: { template: 'The' } }, ' nine'],
    [{ messages: [ASSISTANT], continueFinalMessage: true }, ' nine'],
    [{ messages: [{ role: 'user', content: 'The' }] }, 'nine'],
  ]
  for (const [prompt, expected] of prompts) {
    const params = { model, ...NINE, ...prompt } as GenerateParams
    const result = await engine.generate({ ...params, logprobs: 1 })
    expect({ prompt, text: result.text, tokens: [...result.tokens] }).toEqual({ prompt, text: expected, tokens: [6] })
    let streamed = ''
    for await (const chunk of engine.generate(params)) streamed += chunk.text
    expect(streamed).toBe(expected)
  }
})

test('an answer can be structured if the tokenizer joins tokens with spaces', async () => {
  const { engine } = await withMlx()
  const model = await engine.loadModel(await sentencePiece(null))
  const structured = { choices: ['e', 'T h e'] }
  const { text } = await engine.generate({ model, prompt: 'The', structured, logitBias: { 8: 100 }, maxTokens: 9 })
  expect(text).toBe('T h e')
  // No tokens spell 'The' without spaces.
  const error = await failure(engine.generate({ model, prompt: 'The', structured: { choices: ['The'] } }))
  expect(error).toMatchObject({ code: 'GuidanceError', param: 'structured.choices' })
})
