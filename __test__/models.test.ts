// Loading and unloading: one handle for each model, and errors that name the wrong file.

import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { ModelError } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { failure, longAnswer, M3_MAX, ROOT, simulated, withMlx } from './support.js'

const DEMO = path.join(ROOT, 'models', 'demo')

async function emptyFolder(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  return dir
}

test('without an argument the demo model is loaded, and its handle describes it', async () => {
  const { engine, model } = await withMlx()
  expect(model).toMatchObject({ id: 'demo', path: DEMO, family: 'llama', state: 'loaded' })
  expect(model.contextLength).toBeGreaterThan(0)
  expect(model.vocabSize).toBeGreaterThan(0)
  expect(model.bytes).toBeGreaterThan(0)
  expect(engine.listModels()).toEqual([model])
  expect(engine.getModelInfo('demo')).toBe(model)
  expect(engine.getModelInfo(model)).toBe(model)
  expect(engine.getModelInfo('unknown')).toBeUndefined()
})

test('a model has one handle, however its path is spelled', async () => {
  const { engine, model } = await simulated()
  const dir = await emptyFolder()
  await symlink(DEMO, path.join(dir, 'link'))
  const spellings = [undefined, 'demo', DEMO, `${DEMO}/`, path.join(dir, 'link'), { path: DEMO }, {}, null as never]
  for (const spelling of spellings) expect(await engine.loadModel(spelling)).toBe(model)
  expect(engine.listModels()).toEqual([model])
})

test('a handle has the element type of computations', async () => {
  const half = path.join(ROOT, 'tools', 'conformance', 'fixtures', 'walk-byte-level')
  const computeTypes: string[] = []
  for (const precision of ['auto', 'model'] as const) {
    const { engine, model } = await withMlx({ precision })
    computeTypes.push(model.computeType, (await engine.loadModel(half)).computeType)
  }
  const onCpu = process.platform === 'darwin' ? 'float16' : 'float32'
  expect(computeTypes).toEqual(['float32', onCpu, 'float32', 'float16'])
  expect((await simulated()).model.computeType).toBe('simulated')
})

test('concurrent loads of one model load it once', async () => {
  const { engine, model } = await simulated()
  await engine.unloadModel(model)
  const handles = await Promise.all(Array.from({ length: 20 }, () => engine.loadModel()))
  expect(new Set(handles).size).toBe(1)
  expect(handles[0]).not.toBe(model)
  expect(engine.listModels()).toEqual([handles[0]])
})

test('an unloaded model cannot be used, and can be loaded again', async () => {
  const { engine, model } = await simulated()
  const unloaded = engine.unloadModel('demo')
  expect(model.state).toBe('draining')
  expect(await failure(engine.generate({ model, prompt: 'Hello' }))).toMatchObject({ code: 'ModelNotLoaded' })
  expect(await failure(engine.unloadModel(model))).toMatchObject({ code: 'ModelNotLoaded' })
  await unloaded
  expect(model.state).toBe('unloaded')
  expect(engine.listModels()).toEqual([])
  const again = await engine.loadModel()
  expect((await engine.generate({ model: again, prompt: 'Hello', maxTokens: 2 })).tokens.length).toBeGreaterThan(0)
})

test('unloading waits for running generations', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { ...(await longAnswer(40)), model, maxTokens: 40 }
  const running = [engine.generate(params), engine.generate(params)]
  await running[0][Symbol.asyncIterator]().next()
  await engine.unloadModel(model)
  expect((await Promise.all(running)).map(({ tokens }) => tokens.length)).toEqual([40, 40])
})

test('two engines do not share models', async () => {
  const [first, second] = [await simulated(), await simulated()]
  const error = await failure(second.engine.generate({ model: first.model, prompt: 'Hello' }))
  expect(error).toMatchObject({ code: 'ModelNotLoaded', param: 'model' })
})

test.each<[string, unknown, string]>([
  ['a folder that is not there', '/nowhere/at/all', 'ModelNotFound'],
  ['an empty path', '', 'ModelNotFound'],
  ['a path with a zero byte', 'a\0b', 'ModelNotFound'],
  ['a file', path.join(ROOT, 'package.json'), 'ModelNotFound'],
  ['a number', 4, 'InvalidParams'],
  ['a list', [DEMO], 'InvalidParams'],
  ['a URL', pathToFileURL(DEMO), 'InvalidParams'],
  ['a Promise', Promise.resolve(DEMO), 'InvalidParams'],
  ['a path that is a number', { path: 4 }, 'InvalidParams'],
  ['an unknown option', { folder: DEMO }, 'InvalidParams'],
])('a load of %s is refused', async (_, model, code) => {
  const { engine } = await simulated()
  expect(await failure(engine.loadModel(model as never))).toMatchObject({ code })
})

test('the error about a wrong argument says what is allowed', async () => {
  const { engine } = await simulated()
  for (const model of [4, true, [DEMO], pathToFileURL(DEMO)]) {
    const error = await failure(engine.loadModel(model as never))
    expect(error).toMatchObject({ param: 'model' })
    expect(error.message).toMatch(/^`model` must be the path of a model folder, or \{ path \}, not /)
  }
})

test('the error about a handle in place of a path names the loaded model', async () => {
  const { engine, model } = await simulated()
  const error = await failure(engine.loadModel(model as never))
  expect(error).toMatchObject({ code: 'InvalidParams', param: 'model' })
  expect(error.message).toContain('not a handle: the model "demo" was loaded before')
})

/** The demo model with some files replaced or removed. */
async function altered(files: Record<string, string | Buffer | undefined>): Promise<string> {
  const dir = await emptyFolder()
  for (const name of await readdir(DEMO))
    if (!(name in files)) await symlink(path.join(DEMO, name), path.join(dir, name))
  for (const [name, content] of Object.entries(files)) {
    if (content !== undefined) await writeFile(path.join(dir, name), content)
  }
  return dir
}

const config = async (changes: object) => {
  const demo = JSON.parse(await readFile(path.join(DEMO, 'config.json'), 'utf8'))
  return { 'config.json': JSON.stringify({ ...demo, ...changes }) }
}
test('ignored values in the files of a model are its only warnings', async () => {
  const { engine, model } = await withMlx()
  expect(model.warnings).toEqual([])
  const generation = { temperature: -1, top_p: 5, repetition_penalty: 0, top_k: 4, eos_token_id: [1, 128009] }
  const folder = await altered({ 'generation_config.json': JSON.stringify(generation) })
  const { warnings } = await engine.loadModel(folder)
  const expected = [/temperature.*-1/, /top_p.*5/, /repetition_penalty.*0/, /eos_token_id.*128009/]
  expect(warnings).toEqual(expected.map(pattern => expect.stringMatching(pattern)))
  expect(warnings.every(warning => warning.startsWith('generation_config.json'))).toBe(true)
})

test('JSON as Python writes it is accepted', async () => {
  const { engine } = await withMlx()
  const { 'config.json': text } = await config({ time_step_limit: [0, 'INF'], scale: 'NAN' })
  const python = text.replace('"INF"', 'Infinity').replace('"NAN"', 'NaN')
  expect((await engine.loadModel(await altered({ 'config.json': python }))).state).toBe('loaded')
  const needed = await failure(
    engine.loadModel(await altered({ 'config.json': text.replace(/("hidden_size":)\d+/, '$1NaN') })),
  )
  expect(needed.message).toMatch(/hidden_size.*NaN/)
})

const weights = async (change: (bytes: Buffer) => Buffer) => ({
  'model.safetensors': change(await readFile(path.join(DEMO, 'model.safetensors'))),
})
const withFalseSize = (bytes: Buffer) => Buffer.concat([Buffer.from('ffffffffffffff7f', 'hex'), bytes.subarray(8)])

test.each<[string, () => Promise<Record<string, string | Buffer | undefined>>, RegExp]>([
  ['no config.json', async () => ({ 'config.json': undefined }), /config\.json/],
  ['a broken config.json', async () => ({ 'config.json': '{' }), /config\.json/],
  ['a config.json that is not an object', async () => ({ 'config.json': '[]' }), /config\.json/],
  ['an unknown architecture', () => config({ model_type: 'mamba9' }), /mamba9.*llama/s],
  ['more layers than weights', () => config({ num_hidden_layers: 1000 }), /layers/],
  ['weights of another shape', () => config({ hidden_size: 4096 }), /shape/],
  ['no weights', async () => ({ 'model.safetensors': undefined }), /safetensors/],
  ['truncated weights', () => weights(bytes => bytes.subarray(0, bytes.length / 2)), /safetensors/],
  ['weights with a false header size', () => weights(withFalseSize), /safetensors/],
  ['no tokenizer', async () => ({ 'tokenizer.json': undefined }), /tokenizer\.json/],
  ['a broken tokenizer', async () => ({ 'tokenizer.json': '{"model":{}}' }), /tokenizer\.json/],
])('a folder with %s is refused, and the engine continues', async (_, files, message) => {
  const { engine, model } = await withMlx()
  const error = await failure(engine.loadModel(await altered(await files())))
  expect(error).toBeInstanceOf(ModelError)
  expect(error.message).toMatch(message)
  expect((await engine.generate({ model, prompt: 'Hello', maxTokens: 2 })).tokens.length).toBeGreaterThan(0)
})
