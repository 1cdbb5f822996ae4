// Loading while other models stream: the streams continue, a signal ends a load, and concurrent loads succeed.

import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createEngine, EngineClosedError, type MlxServingError } from 'mlx-serving'
import { expect, inject, onTestFinished, test } from 'vitest'
import { failure, M3_MAX, ROOT, simulated, until, withMlx } from './support.js'

const DEMO = path.join(ROOT, 'models', 'demo')

/** A folder of its own with the demo model. */
async function copyOfDemo(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  await cp(DEMO, folder, { recursive: true })
  return folder
}

const answers = { maxTokens: 4, ignoreEos: true, prompt: 'Hello' }

test('a load whose signal has aborted does not begin', async () => {
  const { engine, model } = await simulated()
  const reason = new Error('not any more')
  const path = await copyOfDemo()
  expect(await failure(engine.loadModel({ path, signal: AbortSignal.abort(reason) }))).toBe(reason)
  expect(engine.listModels()).toEqual([model])
})

test('an abort rejects with its reason, and the same model can be loaded at once', async () => {
  const { engine, model } = await withMlx()
  const path = await copyOfDemo()
  for (let round = 0; round < 5; round++) {
    const controller = new AbortController()
    // The load may end before the abort.
    const aborted = failure(engine.loadModel({ path, signal: controller.signal })).catch(() => undefined)
    await new Promise(resolve => setTimeout(resolve, round * 4))
    controller.abort()
    const again = engine.loadModel({ path })
    const [error, loaded] = await Promise.all([aborted, again])
    if (error !== undefined) expect(error.name).toBe('AbortError')
    const { tokens } = await engine.generate({ model: loaded, ...answers })
    expect(tokens).toEqual((await engine.generate({ model, ...answers })).tokens)
    expect(engine.listModels()).toEqual([model, loaded])
    await engine.unloadModel(loaded)
  }
})

test('an abort after the load has no effect', async () => {
  const { engine } = await simulated()
  const controller = new AbortController()
  const loaded = await engine.loadModel({ path: await copyOfDemo(), signal: controller.signal })
  controller.abort()
  expect(loaded.state).toBe('loaded')
  expect((await engine.generate({ model: loaded, ...answers })).tokens).toHaveLength(4)
})

test('a load continues while one of its callers waits', async () => {
  const { engine } = await withMlx()
  const path = await copyOfDemo()
  const controller = new AbortController()
  const leaving = failure(engine.loadModel({ path, signal: controller.signal }))
  const staying = engine.loadModel({ path, signal: new AbortController().signal })
  controller.abort()
  expect((await leaving).name).toBe('AbortError')
  expect((await staying).state).toBe('loaded')
})

test.each([
  ['a number', 4],
  ['an object of another kind', {}],
])('a signal that is %s is refused', async (_, signal) => {
  const { engine } = await simulated()
  expect(await failure(engine.loadModel({ signal: signal as never }))).toMatchObject({
    code: 'InvalidParams',
    param: 'options.signal',
  })
})

test('a shutdown ends a load', async () => {
  const engine = await createEngine()
  const loading = failure(engine.loadModel())
  await new Promise(resolve => setImmediate(resolve))
  await engine.shutdown()
  expect(await loading).toBeInstanceOf(EngineClosedError)
})

test('models of several formats are loaded at the same time while a stream continues', async () => {
  const { engine, model } = await withMlx({ precision: 'model' })
  const stream = engine.generate({ model, prompt: 'Hello', maxTokens: 1_000, ignoreEos: true })[Symbol.asyncIterator]()
  await stream.next()
  const folders = [...Object.values(inject('copies') as Record<string, string>), await copyOfDemo()]
  const loading = folders.map(folder => engine.loadModel(folder))
  let isLoading = true
  const loaded = Promise.all(loading).finally(() => {
    isLoading = false
  })
  // On a busy machine one chunk has the tokens of many steps.
  let numTokens = 0
  while (isLoading) {
    const { done, value } = await stream.next()
    if (done) break
    numTokens += value.tokens.length
  }
  expect(numTokens).toBeGreaterThan(1)
  await stream.return?.()
  for (const model of await loaded) {
    expect((await engine.generate({ model, ...answers })).tokens).toHaveLength(4)
  }
})

test('a flood of calls while steps run is answered or refused, each call with its own error', async () => {
  const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: 8 } })
  const running = engine.generate({ model, prompt: { tokens: Array.from({ length: 4_000 }, () => 60) }, maxTokens: 4 })
  await until(() => engine.stats().running === 1)
  const ends: Promise<unknown>[] = []
  for (let call = 0; call < 500; call++) {
    const controller = new AbortController()
    ends.push(failure(engine.generate({ model, prompt: 'Hi' }, { signal: controller.signal })))
    controller.abort()
    ends.push(failure(engine.loadModel({ path: `/nowhere/${call}`, signal: controller.signal })))
    ends.push(failure(engine.loadModel(`/nowhere/${call}`)))
    const { preparing, queued, running } = engine.stats()
    // An end is counted when its turn is over, a little after its place is free.
    expect(preparing + queued + running).toBeLessThanOrEqual(16)
  }
  // An aborted request may give its place back before the next call. These requests keep their places.
  const last = new AbortController()
  const long = { model, prompt: 'Hi', maxTokens: 100, ignoreEos: true }
  for (let call = 0; call < 9; call++) ends.push(failure(engine.generate(long, { signal: last.signal })))
  last.abort()
  const nameOf = (error: unknown) => (error instanceof DOMException ? error.name : (error as MlxServingError).code)
  const codes = new Set((await Promise.all(ends)).map(nameOf))
  expect([...codes].sort()).toEqual(['AbortError', 'ModelNotFound', 'Overloaded'])
  expect((await running).tokens).toHaveLength(4)
})
