// The id of a model: the name of its folder or the given one, unique in its engine. What makes two loads one model.

import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { LoadModelOptions } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { failure, ROOT, simulated } from './support.js'

const DEMO = path.join(ROOT, 'models', 'demo')
const SHOUT = '{% for m in messages %}{{ m.content | upper }}{% endfor %}<|end|>'
const WHISPER = '{% for m in messages %}{{ m.content | lower }}{% endfor %}<|end|>'

/** A folder of this name with the demo model, inside a folder of its own. */
async function folderNamed(name: string): Promise<string> {
  const root = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(root, { recursive: true }))
  const folder = path.join(root, name)
  await mkdir(folder, { recursive: true })
  for (const file of await readdir(DEMO)) await symlink(path.join(DEMO, file), path.join(folder, file))
  return folder
}

const foldersNamed = (...names: string[]) => Promise.all(names.map(folderNamed))

test('folders of the same name have different ids, numbered in the order of loading', async () => {
  const { engine } = await simulated()
  const [a, b, c, d] = await foldersNamed('model', 'model', 'model', 'model')
  const first = await engine.loadModel(a)
  expect([first.id, (await engine.loadModel(b)).id, (await engine.loadModel(c)).id]).toEqual([
    'model',
    'model-2',
    'model-3',
  ])
  expect(engine.getModelInfo('model-2')?.path).toBe(b)
  const { tokens } = await engine.generate({ model: 'model-3', prompt: 'Hello', maxTokens: 2 })
  expect(tokens).toHaveLength(2)
  await engine.unloadModel(first)
  expect((await engine.loadModel(d)).id).toBe('model')
})

test('concurrent loads get their ids in the order of the calls', async () => {
  const { engine } = await simulated()
  const folders = await foldersNamed('model', 'model', 'model', 'model', 'model')
  const handles = await Promise.all(folders.map(folder => engine.loadModel(folder)))
  expect(handles.map(({ id }) => id)).toEqual(['model', 'model-2', 'model-3', 'model-4', 'model-5'])
})

test('a number is skipped if a folder has that name', async () => {
  const { engine } = await simulated()
  const [two, a, b] = await foldersNamed('model-2', 'model', 'model')
  const ids: string[] = []
  for (const folder of [two, a, b]) ids.push((await engine.loadModel(folder)).id)
  expect(ids).toEqual(['model-2', 'model', 'model-3'])
})

test('a snapshot in the cache of the hub is named by its repository', async () => {
  const { engine } = await simulated()
  const names = [
    'models--mlx-community--Tiny-Chat-4bit/snapshots/0f1e2d',
    'models--mlx-community--Tiny-Chat-4bit/snapshots/998877',
    'models--gpt2/snapshots/0f1e2d',
    'snapshots/0f1e2d',
  ]
  const handles = []
  for (const folder of await foldersNamed(...names)) handles.push(await engine.loadModel(folder))
  const ids = ['mlx-community/Tiny-Chat-4bit', 'mlx-community/Tiny-Chat-4bit-2', 'gpt2', '0f1e2d']
  expect(handles.map(({ id }) => id)).toEqual(ids)
  expect(await engine.loadModel('mlx-community/Tiny-Chat-4bit')).toBe(handles[0])
})

test('a model has the given id, and is found by path and by id', async () => {
  const { engine } = await simulated()
  const path = await folderNamed('model')
  const handle = await engine.loadModel({ path, id: 'chat' })
  expect(handle.id).toBe('chat')
  expect(engine.stats().models.map(({ model }) => model)).toContain('chat')
  for (const again of [path, 'chat', { path }, { path, id: 'chat' }, { path: 'chat' }]) {
    expect(await engine.loadModel(again)).toBe(handle)
  }
  expect((await engine.loadModel({ id: 'small', path: await folderNamed('model') })).id).toBe('small')
})

test('an id that is taken, and a second id of a model, are refused', async () => {
  const { engine } = await simulated()
  const [a, b] = await foldersNamed('a', 'b')
  const handle = await engine.loadModel({ path: a, id: 'chat' })
  const taken = await failure(engine.loadModel({ path: b, id: 'chat' }))
  expect(taken).toMatchObject({ code: 'InvalidParams', param: 'id' })
  expect(taken.message).toContain(`"chat" is taken by the model in ${a}`)
  const second = await failure(engine.loadModel({ path: a, id: 'other' }))
  expect(second).toMatchObject({ code: 'InvalidParams', param: 'id' })
  expect(second.message).toContain('is loaded as "chat"')
  await engine.unloadModel(handle)
  expect((await engine.loadModel({ path: b, id: 'chat' })).path).toBe(b)
})

test('the same folder with another chat template is another model, and needs an id of its own', async () => {
  const { engine, model } = await simulated()
  const params = { messages: [{ role: 'user', content: 'Hello' }] }
  const without = await failure(engine.loadModel({ path: DEMO, chatTemplate: SHOUT }))
  expect(without).toMatchObject({ code: 'InvalidParams', param: 'id' })
  expect(without.message).toContain('loaded as "demo" with another chatTemplate')
  const loud = await engine.loadModel({ path: DEMO, chatTemplate: SHOUT, id: 'loud' })
  const quiet = await engine.loadModel({ path: 'demo', chatTemplate: WHISPER, id: 'quiet' })
  expect(await engine.loadModel({ chatTemplate: SHOUT })).toBe(loud)
  expect(await engine.loadModel(DEMO)).toBe(model)
  expect(engine.listModels().map(({ id }) => id)).toEqual(['demo', 'loud', 'quiet'])
  expect(await engine.applyChatTemplate({ model: loud, ...params })).toBe('HELLO<|end|>')
  expect(await engine.applyChatTemplate({ model: quiet, ...params })).toBe('hello<|end|>')
  expect(await engine.applyChatTemplate({ model, ...params })).toContain('Hello')
  const conflict = await failure(engine.loadModel({ chatTemplate: WHISPER, id: 'loud' }))
  expect(conflict).toMatchObject({ code: 'InvalidParams', param: 'id' })
})

test('concurrent loads with the same options load one model', async () => {
  const { engine } = await simulated()
  const options = { path: await folderNamed('model'), id: 'chat', chatTemplate: SHOUT, toolPrompt: 'hermes' } as const
  const handles = await Promise.all(Array.from({ length: 10 }, () => engine.loadModel({ ...options })))
  handles.push(await engine.loadModel('chat'))
  expect(new Set(handles).size).toBe(1)
})

test('a model that is being loaded is found by its id, and no other model gets that id', async () => {
  const { engine } = await simulated()
  const [a, b] = await foldersNamed('a', 'b')
  const loading = engine.loadModel({ path: a, id: 'chat' })
  const [refused, byId] = [failure(engine.loadModel({ path: b, id: 'chat' })), engine.loadModel('chat')]
  expect(await refused).toMatchObject({ code: 'InvalidParams', param: 'id' })
  expect(await byId).toBe(await loading)
})

test('the id of a failed load can be used again', async () => {
  const { engine } = await simulated()
  const path = await folderNamed('model')
  const broken: LoadModelOptions = { path, id: 'chat', chatTemplate: '{% if %}' }
  expect(await failure(engine.loadModel(broken))).toMatchObject({ code: 'InvalidParams', param: 'chatTemplate' })
  expect((await engine.loadModel({ path, id: 'chat' })).id).toBe('chat')
})

test.each<[string, object, string]>([
  ['an id that is a number', { id: 4 }, 'id'],
  ['an empty id', { id: '' }, 'id'],
  ['a long id', { id: 'x'.repeat(257) }, 'id'],
  ['a chat template that is a number', { chatTemplate: 4 }, 'chatTemplate'],
  ['an empty chat template', { chatTemplate: ' \n' }, 'chatTemplate'],
  ['a chat template of more than 1 MiB', { chatTemplate: 'x'.repeat(2 ** 20 + 1), id: 'new' }, 'chatTemplate'],
  ['an unknown tool prompt', { toolPrompt: 'llama' }, 'toolPrompt'],
  ['a tool prompt that is true', { toolPrompt: true }, 'toolPrompt'],
  ['a listener that is not a function', { onProgress: 4 }, 'onProgress'],
])('%s is refused by name', async (_, options, param) => {
  const { engine, model } = await simulated()
  expect(await failure(engine.loadModel(options))).toMatchObject({ code: 'InvalidParams', param })
  expect(engine.listModels()).toEqual([model])
})
