// The file of the prompt cache: a new engine reuses the answers of an earlier one, and a wrong file does not prevent the
// start of an engine.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createEngine, type EngineOptions, type GenerateResult } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { failure, INSTANT, inNode, M3_MAX } from './support.js'

function file(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'answers-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return path.join(folder, 'answers')
}

/** Starts an engine, makes a request and shuts the engine down. Returns the process warnings as well. */
async function ask(path: string, options: EngineOptions = {}): Promise<{ result: GenerateResult; warnings: string[] }> {
  const warnings: string[] = []
  const listen = (warning: Error) => warnings.push(warning.message)
  process.on('warning', listen)
  const engine = await createEngine({ backend: { simulated: INSTANT }, cache: { promptCache: { path } }, ...options })
  const result = await engine.generate({ model: await engine.loadModel(), prompt: 'Once', maxTokens: 12 })
  await engine.dispose()
  await new Promise(setImmediate)
  process.off('warning', listen)
  return { result, warnings }
}

test('the next engine reuses an answer', async () => {
  const path = file()
  const { result: first } = await ask(path)
  const { result: again, warnings } = await ask(path)
  expect(again).toMatchObject({ served: 'cached', sharedFrom: first.id, text: first.text, seed: again.seed })
  expect([...again.tokens]).toEqual([...first.tokens])
  expect(again.finishReason).toBe(first.finishReason)
  expect(again.id).not.toBe(first.id)
  expect(warnings).toEqual([])
})

test('an engine with another device does not reuse an answer', async () => {
  const path = file()
  await ask(path)
  const { result } = await ask(path, { backend: { simulated: M3_MAX } })
  expect(result.served).toBe('computed')
})

test('a process that exits without closing its engine still writes the file', async () => {
  const path = file()
  const script = `
    import { createEngine } from 'mlx-serving'
    const engine = await createEngine({
      backend: { simulated: '${INSTANT}' }, cache: { promptCache: { path: ${JSON.stringify(path)} } },
    })
    await engine.generate({ model: await engine.loadModel(), prompt: 'Once', maxTokens: 12 })
    process.exit()`
  expect(await inNode(script)).toMatchObject({ code: 0 })
  expect((await ask(path)).result.served).toBe('cached')
})

test('a file of another kind is set aside, with a warning', async () => {
  const path = file()
  writeFileSync(path, 'my notes')
  const { result, warnings } = await ask(path)
  expect(result.served).toBe('computed')
  expect(warnings).toEqual([expect.stringContaining(`${path}.set-aside`)])
  expect(readFileSync(`${path}.set-aside`, 'utf8')).toBe('my notes')
  expect((await ask(path)).result.served).toBe('cached')
})

test('files that were set aside before are not overwritten', async () => {
  const path = file()
  for (const notes of ['my notes', 'others']) {
    writeFileSync(path, notes)
    await ask(path)
  }
  expect(readFileSync(`${path}.set-aside`, 'utf8')).toBe('my notes')
  expect(readFileSync(`${path}.set-aside-2`, 'utf8')).toBe('others')
})

test('a folder is refused and not changed', async () => {
  const folder = file()
  mkdirSync(folder)
  const options = { backend: { simulated: INSTANT }, cache: { promptCache: { path: folder } } }
  expect(await failure(createEngine(options))).toMatchObject({ code: 'ConfigError', param: 'cache.promptCache.path' })
  expect(readdirSync(path.dirname(folder))).toEqual(['answers'])
  expect(statSync(folder).isDirectory()).toBe(true)
})

test('createEngine warns about a file that cannot be written', async () => {
  const warnings: string[] = []
  const listen = (warning: Error) => warnings.push(warning.message)
  process.on('warning', listen)
  const path = `${file()}/answers`
  const engine = await createEngine({ backend: { simulated: INSTANT }, cache: { promptCache: { path } } })
  await new Promise(setImmediate)
  process.off('warning', listen)
  expect(warnings).toEqual([expect.stringContaining('could not be written')])
  await engine.dispose()
})

test('a file that cannot be written causes one warning and no other harm', async () => {
  const nowhere = path.join(file(), 'answers')
  const { result, warnings } = await ask(nowhere)
  expect(result.served).toBe('computed')
  expect(warnings).toEqual([expect.stringContaining('could not be written')])
  expect(existsSync(nowhere)).toBe(false)
})

test.each([[''], ['a\0b'], [7], [true]])('%j is not a path', async path => {
  const options = { backend: { simulated: INSTANT }, cache: { promptCache: { path: path as string } } }
  const error = await failure(createEngine(options))
  expect(error).toMatchObject({ code: 'ConfigError', param: 'cache.promptCache.path' })
})

test('the path cannot be changed while the engine runs', async () => {
  const engine = await createEngine({ backend: { simulated: INSTANT } })
  onTestFinished(() => engine.dispose())
  expect(() => engine.cache.configure({ promptCache: { path: file() } })).toThrow('can only be set by createEngine')
})
