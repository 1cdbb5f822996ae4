// `mlx-serving show` and `mlx-serving fit` report what the engine does with a model.

import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, inject, test } from 'vitest'
import { cli, emptyFolder, onTerminal } from './cli.js'
import { STORED } from './copies.js'
import { copiesOfDemo } from './folders.js'
import { COMMIT, hub, NAME, WEIGHTS } from './hubserver.js'
import { failure, simulated, until, withMlx } from './support.js'

interface Fit {
  fits: boolean
  weightBytes: number
  kvBytes: number
  tokenBytes: number
  parameters: number
  contexts: { context: number; rowBytes: number; rows: number }[]
}

async function fitOf(...args: string[]): Promise<Fit & { code: number | null }> {
  const { stdout, code } = await cli(['fit', '--json', ...args])
  return { ...(JSON.parse(stdout) as Fit), code }
}

test('fit reports what the engine uses: bytes of weights, limit of KV, KV of a request', async () => {
  // The stream is at most 32 tokens ahead of its reader, so KV of every size is there when a chunk is read.
  const { engine, model } = await withMlx({ streaming: { bufferTokens: 32 } })
  const said = await fitOf('--device', 'cpu')
  expect(said.weightBytes).toBe(model.bytes)
  expect(said.kvBytes).toBe(engine.config()['memory.kvBytes']?.value)
  const generation = engine.generate({ model, prompt: { tokens: [60] }, maxTokens: 1020, ignoreEos: true })
  let largest = 0
  for await (const _ of generation) largest = Math.max(largest, engine.stats().kvBytes)
  expect(said.contexts.at(-1)).toMatchObject({ context: 1024, rowBytes: largest })
})

test.each(STORED)('fit counts the parameters of %s weights as the engine does', async stored => {
  const { engine } = await withMlx()
  const model = await engine.loadModel(inject('copies')[stored])
  expect((await fitOf(model.path, '--device', 'cpu')).weightBytes).toBe(model.bytes)
})

test('the engine refuses a request that does not fit according to fit, and runs one that fits', async () => {
  const said = await fitOf('--device', 'cpu')
  const kvBytes = (said.contexts[0]?.rowBytes ?? 0) - 1
  const { engine, model } = await withMlx({ memory: { kvBytes } })
  const params = { model, prompt: { tokens: [60] }, ignoreEos: true }
  expect(await failure(engine.generate({ ...params, maxTokens: 1020 }))).toMatchObject({ code: 'InsufficientMemory' })
  await engine.generate({ ...params, maxTokens: 700 })
  await until(() => engine.stats().running === 0)
})

/** Fields of the models in the table of docs/memory.md, and the numbers of the table. */
const LLAMA_8B = {
  tie_word_embeddings: false,
  model_type: 'llama',
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
}
const KNOWN = [
  ['Llama 3.1 8B', { ...LLAMA_8B, hidden_size: 4096, max_position_embeddings: 131_072 }, 8.03e9, 4.5e9, 131_072, 4.3e9],
  [
    'Qwen 3 4B',
    { ...LLAMA_8B, model_type: 'qwen3', num_hidden_layers: 36, head_dim: 128, max_position_embeddings: 40_960 },
    4.02e9,
    2.3e9,
    147_456,
    4.8e9,
  ],
] as const

test.each(KNOWN)('fit reports %s at 4 bits without a download, as docs/memory.md does', async (...known) => {
  const [, fields, numbers, weightBytes, tokenBytes, eightRows] = known
  const server = await hub()
  const quantization = { bits: 4, group_size: 64 }
  const config = { ...fields, torch_dtype: 'bfloat16', quantization }
  server.files.set('config.json', Buffer.from(JSON.stringify(config)))
  // As the hub counts them: eight weights in a word, a scale and a bias for 64.
  const parameters = { U32: numbers / 8, BF16: (2 * numbers) / 64 }
  server.list = ({ sha, siblings }) => ({
    sha,
    siblings: siblings.map(file => (file.rfilename === WEIGHTS ? { ...file, size: numbers * 0.5625 } : file)),
    safetensors: { parameters },
  })
  const said = await fitOf(NAME, '--device', 'gpu', '--memory', '16')
  expect(said).toMatchObject({ code: 0, fits: true, tokenBytes, parameters: numbers })
  expect(said.weightBytes / weightBytes).toBeCloseTo(1, 1)
  expect(((said.contexts.find(({ context }) => context === 4096)?.rowBytes ?? 0) * 8) / eightRows).toBeCloseTo(1, 1)
  expect(server.requestsOf(WEIGHTS)).toEqual([])
  // On a CPU it is computed in float32, unless that takes too much.
  const cpu = await fitOf(NAME, '--device', 'cpu', '--memory', '64')
  expect(cpu).toMatchObject({ weightBytes: 4 * numbers, tokenBytes: 2 * tokenBytes })
  const small = await fitOf(NAME, '--device', 'cpu', '--memory', '16')
  expect(small.weightBytes).toBeLessThan(numbers)
})

test('fit counts 14 conversations of 4096 tokens for Llama 3.1 8B on 16 GB, as docs/memory.md does', async () => {
  const server = await hub()
  const [, fields, numbers] = KNOWN[0]
  const config = { ...fields, torch_dtype: 'bfloat16', quantization: { bits: 4, group_size: 64 } }
  server.files.set('config.json', Buffer.from(JSON.stringify(config)))
  server.list = ({ sha, siblings }) => ({
    sha,
    siblings: siblings.map(file => (file.rfilename === WEIGHTS ? { ...file, size: numbers * 0.5625 } : file)),
  })
  const args = [NAME, '--device', 'gpu', '--memory', '16', '--context', '4096']
  expect((await fitOf(...args, '--rows', '14')).code).toBe(0)
  const { code, stderr, stdout } = await cli(['fit', ...args, '--rows', '15'])
  expect(code).toBe(5)
  expect(stderr).toMatch(/^DoesNotFit: 15 requests of 4,096 tokens and 4\.5\d GB of weights do not fit 17\.2 GB/)
  expect(stdout).toMatch(/\n +4,096 +537 MB +14\n/)
})

test('fit asks the hub about a model that is not complete in the cache', async () => {
  const server = await hub()
  const folder = path.join(server.storage, 'snapshots', COMMIT)
  await mkdir(folder, { recursive: true })
  await writeFile(path.join(folder, 'config.json'), server.files.get('config.json')!)
  expect((await fitOf(NAME, '--device', 'gpu')).weightBytes).toBe(server.files.get(WEIGHTS)!.length)
})

test('layers with a window keep at most the window', async () => {
  const server = await hub()
  const config = { ...LLAMA_8B, model_type: 'gemma2', head_dim: 64, sliding_window: 512, max_position_embeddings: 8192 }
  server.files.set('config.json', Buffer.from(JSON.stringify({ ...config, torch_dtype: 'bfloat16' })))
  const { contexts, tokenBytes } = await fitOf(NAME, '--device', 'gpu')
  const layer = tokenBytes / 32
  expect(contexts.at(-1)?.rowBytes).toBe(16 * layer * 8192 + 16 * layer * 512)
})

test('fit fails for a context above that of the model, and names the limit', async () => {
  const { code, stdout, stderr } = await cli(['fit', '--context', '100000', '--json'])
  expect(JSON.parse(stdout)).toMatchObject({ wanted: { rows: 1, context: 100_000 }, fits: false })
  expect(stderr).toMatch(/^DoesNotFit: .*100,000 tokens.* 1,024 tokens/)
  expect(code).toBe(5)
  expect((await fitOf('--context', '1025')).code).toBe(5)
  expect(await fitOf('--context', '1024')).toMatchObject({ code: 0, fits: true })
})

test('fit counts the memory in whole bytes', async () => {
  const { stdout } = await cli(['fit', '--memory', '0.1', '--json'])
  expect(JSON.parse(stdout).memoryBytes).toBe(107_374_182)
})

test('fit takes a type of weights that is named like a property for an unknown one', async () => {
  const server = await hub()
  server.files.set('config.json', Buffer.from(JSON.stringify({ ...LLAMA_8B, hidden_size: 64, dtype: 'constructor' })))
  server.list = listing => listing
  expect((await fitOf(NAME, '--device', 'gpu')).parameters).toBe(server.files.get(WEIGHTS)!.length / 2)
})

test('show lists tensors, capabilities and the chat template', async () => {
  const { engine } = await withMlx()
  const { chat, tools, reasoning } = (await engine.loadModel()).capabilities
  const { stdout, code } = await cli(['show'])
  expect(code).toBe(0)
  expect(stdout).toMatch(
    /\nweights +3\.\d+ MB, 7\d\d k parameters\nlayers +4, with 2 KV heads of 32\ncontext +1,024 tokens\n/,
  )
  expect(stdout).toMatch(/\nF32 +38 +7\d\d,\d{3} +3\.\d+ MB\n/)
  const mark = (has: boolean) => (has ? '√' : '-')
  expect(stdout).toContain(`\n${mark(chat)} messages\n√ system messages\n${mark(tools)} tools\n`)
  expect(stdout).toContain(`\n${mark(reasoning)} reasoning\n√ structured output\n`)
  expect((await cli(['show', '--template'])).stdout).toContain('add_generation_prompt')
  const said = JSON.parse((await cli(['show', '--json', '--tensors'])).stdout)
  const [type] = said.weights.types
  expect(said.weights).toMatchObject({ bytes: 4 * type.numbers, parameters: type.numbers })
  expect(said.capabilities).toMatchObject({ chat, tools, reasoning, contextLength: 1024 })
  // The type of computations depends on the device.
  expect(said.capabilities).not.toHaveProperty('computeType')
  expect(said.tensors).toHaveLength(38)
})

test('show names the broken files of a model', async () => {
  const folder = await emptyFolder()
  await writeFile(path.join(folder, 'config.json'), '{"model_type":"llama"}')
  expect((await cli(['show', folder])).stdout).toMatch(/× it cannot be used: no weights in .*/)
  await writeFile(path.join(folder, WEIGHTS), Buffer.alloc(8, 255))
  const { code, stderr } = await cli(['show', folder])
  expect(code).toBe(3)
  expect(stderr).toMatch(/^ModelLoadError: the header of .*model\.safetensors cannot be read: its length, .*\n$/)
  expect((await cli(['show', path.join(folder, 'none')])).code).toBe(3)
  expect((await cli(['fit', folder])).code).toBe(3)
})

/** Templates of different lengths, in the order in which the engine looks for them. */
const TEMPLATES = ['a', 'a b', 'a b c', 'a b c d'] as const
const EOS = { eos_token: '<|end|>' }
const PLACES = [
  ['chat_template.jinja', TEMPLATES[0], undefined],
  ['additional_chat_templates/default.jinja', TEMPLATES[1], undefined],
  [
    'tokenizer_config.json',
    JSON.stringify({ ...EOS, chat_template: [{ name: 'only', template: TEMPLATES[2] }] }),
    JSON.stringify({ ...EOS, chat_template: null }),
  ],
  ['chat_template.json', JSON.stringify({ chat_template: [null, { name: 'default', template: TEMPLATES[3] }] }), '{}'],
] as const

test('show prints the chat template that the engine uses', async () => {
  const { model: folder } = await copiesOfDemo('model')
  await mkdir(path.join(folder, 'additional_chat_templates'))
  const write = (name: string, text: string) => writeFile(path.join(folder, name), text)
  for (const [name, text] of PLACES) await write(name, text)
  for (const [at, [name, , without]] of PLACES.entries()) {
    const text = TEMPLATES[at]!
    expect((await cli(['show', folder, '--template'])).stdout).toBe(`${text}\n`)
    const { engine } = await simulated()
    const model = await engine.loadModel(folder)
    const { usage } = await engine.generate({ model, messages: [{ role: 'user', content: 'x' }], maxTokens: 1 })
    expect(usage.inputTokens).toBe((await engine.tokenize({ model, text })).length)
    if (without === undefined) await rm(path.join(folder, name))
    else await write(name, without)
  }
  expect((await cli(['show', folder, '--template'])).stdout).toBe('\n')
})

test('a chat template cannot change the terminal', async () => {
  const server = await hub()
  const folder = path.join(server.storage, 'snapshots', COMMIT)
  await mkdir(folder, { recursive: true })
  await writeFile(path.join(folder, 'config.json'), '{}')
  await writeFile(path.join(folder, 'chat_template.jinja'), 'a\u001b[31mb')
  expect((await cli(['show', NAME, '--template'])).stdout).toBe('a\u001b[31mb\n')
  expect((await onTerminal(['show', NAME, '--template'], [])).raw).toBe('a[31mb\r\n')
})
