// Loading and unloading: one handle for one model, and what is wrong with a folder is said by name.

import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ModelError } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { failure, longAnswer, M3_MAX, ROOT, simulated, withMlx } from './support.js'

const DEMO = path.join(ROOT, 'models', 'demo')

async function folder(files: Record<string, string>): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  for (const [name, content] of Object.entries(files)) await writeFile(path.join(dir, name), content)
  return dir
}

test('without an argument the demo model is loaded, and its handle says what it is', async () => {
  const { engine, model } = await withMlx()
  expect(model).toMatchObject({ id: 'demo', path: DEMO, family: 'llama', state: 'loaded' })
  expect(model.contextLength).toBeGreaterThan(0)
  expect(model.vocabSize).toBeGreaterThan(0)
  expect(model.bytes).toBeGreaterThan(0)
  expect(engine.listModels()).toEqual([model])
  expect(engine.getModelInfo('demo')).toBe(model)
  expect(engine.getModelInfo(model)).toBe(model)
  expect(engine.getModelInfo('nobody')).toBeUndefined()
})

test('one model has one handle, however it is spelled and whoever asks', async () => {
  const { engine, model } = await simulated()
  const dir = await folder({})
  await symlink(DEMO, path.join(dir, 'link'))
  const spellings = [undefined, 'demo', DEMO, `${DEMO}/`, path.join(dir, 'link'), { path: DEMO }, {}]
  for (const spelling of spellings) expect(await engine.loadModel(spelling)).toBe(model)
  expect(engine.listModels()).toEqual([model])
})

test('concurrent loads of one model load it once', async () => {
  const { engine, model } = await simulated()
  await engine.unloadModel(model)
  const handles = await Promise.all(Array.from({ length: 20 }, () => engine.loadModel()))
  expect(new Set(handles).size).toBe(1)
  expect(handles[0]).not.toBe(model)
  expect(engine.listModels()).toEqual([handles[0]])
})

test('an unloaded model is gone at once, and can be loaded again', async () => {
  const { engine, model } = await simulated()
  const unloaded = engine.unloadModel('demo')
  expect(model.state).toBe('unloaded')
  expect(await failure(engine.generate({ model, prompt: 'Hello' }))).toMatchObject({ code: 'ModelNotLoaded' })
  expect(await failure(engine.unloadModel(model))).toMatchObject({ code: 'ModelNotLoaded' })
  await unloaded
  expect(engine.listModels()).toEqual([])
  const again = await engine.loadModel()
  expect((await engine.generate({ model: again, prompt: 'Hello', maxTokens: 2 })).tokens.length).toBeGreaterThan(0)
})

test('generations that run when their model is unloaded end first', async () => {
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
  ['null', null, 'InvalidParams'],
  ['a path that is a number', { path: 4 }, 'InvalidParams'],
  ['an unknown option', { folder: DEMO }, 'InvalidParams'],
])('%s', async (_, model, code) => {
  const { engine } = await simulated()
  expect(await failure(engine.loadModel(model as never))).toMatchObject({ code })
})

const LLAMA = { model_type: 'llama', hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 1, vocab_size: 8 }

test.each<[string, Record<string, string>, RegExp]>([
  ['an empty folder', {}, /config\.json/],
  ['a broken config.json', { 'config.json': '{' }, /config\.json/],
  ['a config.json that is no object', { 'config.json': '[]' }, /config\.json/],
  ['no weights', { 'config.json': JSON.stringify(LLAMA) }, /safetensors|tokenizer/],
  ['an unknown architecture', { 'config.json': JSON.stringify({ ...LLAMA, model_type: 'mamba9' }) }, /mamba9.*llama/s],
  [
    'a truncated safetensors file',
    { 'config.json': JSON.stringify(LLAMA), 'model.safetensors': 'abc' },
    /safetensors|tokenizer/,
  ],
])('a folder with %s is refused, and the engine goes on', async (_, files, message) => {
  const { engine, model } = await withMlx()
  const error = await failure(engine.loadModel(await folder(files)))
  expect(error).toBeInstanceOf(ModelError)
  expect(error.message).toMatch(message)
  expect((await engine.generate({ model, prompt: 'Hello', maxTokens: 2 })).tokens.length).toBeGreaterThan(0)
})
