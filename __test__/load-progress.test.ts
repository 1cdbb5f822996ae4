// `onProgress` of a load: what each caller gets, and an error that it throws.

import { cp, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { LoadProgress } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { failure, ROOT, simulated, withMlx } from './support.js'

const DEMO = path.join(ROOT, 'models', 'demo')

async function folderWith(files: string[]): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  for (const file of files) await cp(path.join(DEMO, file), path.join(folder, file))
  return folder
}

const ALL = ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']

/** A model of 32 wide layers whose weights are all 0: 128 MiB that take no room on the disk. */
async function wideModel(): Promise<[folder: string, bytes: number]> {
  const [hidden, wide, layers, vocab] = [64, 5_200, 32, 2_048]
  const folder = await folderWith(['tokenizer.json', 'tokenizer_config.json'])
  const config = {
    model_type: 'llama',
    hidden_size: hidden,
    intermediate_size: wide,
    num_hidden_layers: layers,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    vocab_size: vocab,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 256,
    tie_word_embeddings: true,
  }
  await writeFile(path.join(folder, 'config.json'), JSON.stringify(config))
  const shapes: [string, number[]][] = [
    ['model.embed_tokens.weight', [vocab, hidden]],
    ['model.norm.weight', [hidden]],
  ]
  for (let layer = 0; layer < layers; layer++) {
    const of = (name: string, ...shape: number[]) => shapes.push([`model.layers.${layer}.${name}.weight`, shape])
    for (const name of ['q', 'k', 'v', 'o']) of(`self_attn.${name}_proj`, hidden, hidden)
    of('mlp.gate_proj', wide, hidden)
    of('mlp.up_proj', wide, hidden)
    of('mlp.down_proj', hidden, wide)
    of('input_layernorm', hidden)
    of('post_attention_layernorm', hidden)
  }
  let offset = 0
  const entries = shapes.map(([name, shape]) => {
    const from = offset
    offset += 4 * shape.reduce((one, other) => one * other)
    return [name, { dtype: 'F32', shape, data_offsets: [from, offset] }]
  })
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const file = await open(path.join(folder, 'model.safetensors'), 'w')
  await file.write(Buffer.concat([length, header]))
  await file.truncate(8 + header.length + offset)
  await file.close()
  return [folder, offset]
}

/** Checks the reports of one load: they grow, and the last one alone is complete. */
function expectGrowth(reports: LoadProgress[]): void {
  const bytes = reports.map(({ loadedBytes }) => loadedBytes)
  const [{ totalBytes }] = reports
  expect(bytes).toEqual([...new Set(bytes)].sort((one, other) => one - other))
  expect(reports.every(report => report.totalBytes === totalBytes)).toBe(true)
  expect(bytes.indexOf(totalBytes)).toBe(reports.length - 1)
}

test('reports grow while weights are loaded, and end with all bytes', async () => {
  const { engine } = await withMlx()
  const [wide, bytes] = await wideModel()
  let most = 0
  for (let round = 0; round < 50 && most < 2; round++) {
    const reports: LoadProgress[] = []
    const model = await engine.loadModel({ path: wide, onProgress: progress => reports.push(progress) })
    expectGrowth(reports)
    expect(reports.at(-1)?.totalBytes).toBe(bytes)
    most = Math.max(most, reports.length)
    await engine.unloadModel(model)
  }
  expect(most).toBeGreaterThan(1)
})

test('each caller that waits for a load gets reports, and one of a loaded model gets the last report', async () => {
  const { engine } = await withMlx()
  const folder = await folderWith(ALL)
  const all: LoadProgress[][] = [[], [], []]
  const load = (reports: LoadProgress[]) =>
    engine.loadModel({ path: folder, onProgress: progress => reports.push(progress) })
  await Promise.all([...all.map(load), engine.loadModel(folder)])
  for (const reports of all) expectGrowth(reports)
  const late: LoadProgress[] = []
  await load(late)
  expect(late).toEqual([all[0].at(-1)])
})

test('a load on a simulated device reports its end', async () => {
  const { engine } = await simulated()
  const reports: LoadProgress[] = []
  await engine.loadModel({ path: await folderWith(ALL), onProgress: progress => reports.push(progress) })
  expectGrowth(reports)
})

test('an error of a listener ends the wait of its caller, and the load if no other caller waits', async () => {
  const { engine, model } = await withMlx()
  const folder = await folderWith(ALL)
  const thrown = new Error('no room on the screen')
  const onProgress = () => {
    throw thrown
  }
  expect(await failure(engine.loadModel({ path: folder, onProgress }))).toBe(thrown)
  expect(engine.listModels()).toEqual([model])
  const [failed, staying] = [failure(engine.loadModel({ path: folder, onProgress })), engine.loadModel(folder)]
  expect(await failed).toBe(thrown)
  const stayed = await staying
  expect(engine.listModels()).toEqual([model, stayed])
  expect(await failure(engine.loadModel({ path: folder, onProgress }))).toBe(thrown)
  expect(engine.listModels()).toEqual([model, stayed])
})

test('a caller whose signal aborted gets no more reports', async () => {
  const { engine } = await withMlx()
  const folder = await folderWith(ALL)
  const controller = new AbortController()
  const reports: LoadProgress[] = []
  const options = { path: folder, signal: controller.signal, onProgress: (it: LoadProgress) => reports.push(it) }
  const leaving = failure(engine.loadModel(options))
  const staying = engine.loadModel(folder)
  controller.abort()
  expect((await leaving).name).toBe('AbortError')
  const before = reports.length
  await staying
  expect(reports).toHaveLength(before)
})

test('a listener that aborts its own load ends it', async () => {
  const { engine } = await withMlx()
  const controller = new AbortController()
  const options = { path: await folderWith(ALL), signal: controller.signal, onProgress: () => controller.abort() }
  expect((await failure(engine.loadModel(options))).name).toBe('AbortError')
})
