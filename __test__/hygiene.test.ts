// What a generation must not do beside its work: raise rejections nobody asked for, lose its caller's context, or stay
// in memory.

import { AsyncLocalStorage } from 'node:async_hooks'
import { expect, test } from 'vitest'
import { inNode, simulated } from './support.js'

const START = `
  import { createEngine } from 'mlx-serving'
  const engine = await createEngine({ backend: { simulated: 'instant' } })
  const model = await engine.loadModel()
  const settle = () => new Promise(resolve => setTimeout(resolve, 50))
  process.on('unhandledRejection', error => console.log('unhandled', error.code))`

test('a generation that fails and is ignored is silent', async () => {
  const script = `${START}
    engine.generate({ model, prompt: '' })
    engine.generate({ model: 'nobody', prompt: '' })
    engine.generate(null)
    await settle()
    console.log('alive')`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'alive\n' })
})

test('one that is iterated and fails does not fail a second time', async () => {
  const script = `${START}
    try {
      for await (const _ of engine.generate({ model, prompt: '' }));
    } catch (error) {
      console.log('caught', error.code)
    }
    await settle()`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'caught InvalidParams\n' })
})

test('one that is left or disposed is silent', async () => {
  const script = `${START}
    for await (const _ of engine.generate({ model, prompt: 'Hello' })) break
    await engine.generate({ model, prompt: 'Hello' })[Symbol.asyncDispose]()
    const controller = new AbortController()
    engine.generate({ model, prompt: 'Hello' }, { signal: controller.signal })
    controller.abort()
    await engine.dispose()
    await settle()
    console.log('alive')`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'alive\n' })
})

test('one that is awaited without a handler is an unhandled rejection, once', async () => {
  const script = `${START}
    engine.generate({ model, prompt: '' }).then(() => {})
    await settle()`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'unhandled InvalidParams\n' })
})

test('the async context of the caller survives awaiting and iterating', async () => {
  const { engine, model } = await simulated()
  const storage = new AsyncLocalStorage<number>()
  const work = async (n: number) => {
    const seen: unknown[] = []
    await engine.generate({ model, prompt: `Hello ${n}`, maxTokens: 4 })
    seen.push(storage.getStore())
    for await (const _ of engine.generate({ model, prompt: `Hello ${n}`, maxTokens: 4 })) seen.push(storage.getStore())
    await engine.generate({ model, prompt: 'Hello', maxTokens: 4 }).then(() => seen.push(storage.getStore()))
    for await (const _ of engine.createGenerator({ model, prompt: 'Hello', maxTokens: 4 }))
      seen.push(storage.getStore())
    return seen.every(value => value === n) && seen.length > 4
  }
  const all = await Promise.all(Array.from({ length: 10 }, (_, n) => storage.run(n, () => work(n))))
  expect(all).toEqual(Array(10).fill(true))
})

test('generations that have ended are collected, whether awaited, read, left or aborted', async () => {
  const script = `${START}
    const { signal } = new AbortController()
    const refs = []
    const run = async () => {
      const awaited = engine.generate({ model, prompt: 'Hello', maxTokens: 4 }, { signal })
      await awaited
      const read = engine.generate({ model, prompt: 'Hello', maxTokens: 4 }, { signal })
      for await (const _ of read);
      const left = engine.generate({ model, prompt: 'Hello', maxTokens: 4 }, { signal })
      for await (const _ of left) break
      refs.push(new WeakRef(awaited), new WeakRef(read), new WeakRef(left))
    }
    for (let n = 0; n < 20; n++) await run()
    await settle()
    gc()
    console.log(refs.length, refs.filter(ref => ref.deref()).length)`
  expect((await inNode(script, 'module', ['--expose-gc'])).stdout).toBe('60 0\n')
})

test('an engine that nobody refers to is collected, but not while it works', async () => {
  const script = `
    import { createEngine } from 'mlx-serving'
    const settle = () => new Promise(resolve => setTimeout(resolve, 20))
    const drop = async () => new WeakRef(await createEngine({ backend: { simulated: 'instant' } }))
    const work = async () => {
      const engine = await createEngine({ backend: { simulated: 'm3-max/llama-3.2-3b-4bit' } })
      const model = await engine.loadModel()
      return [engine.generate({ model, prompt: 'Hello', maxTokens: 8 })]
    }
    const [generation] = await work()
    const ref = await drop()
    for (let n = 0; n < 5; n++) { await settle(); gc() }
    console.log(ref.deref() === undefined, (await generation).tokens.length > 0)`
  expect(await inNode(script, 'module', ['--expose-gc'])).toEqual({
    code: 0,
    signal: null,
    stdout: 'true true\n',
    stderr: '',
  })
})

test('memory does not grow with the number of generations', async () => {
  const script = `${START}
    const used = () => { gc(); return process.memoryUsage().heapUsed }
    const some = n => Promise.all(Array.from({ length: n }, () => engine.generate({ model, prompt: 'Hello', maxTokens: 2 })))
    await some(500)
    const before = used()
    for (let n = 0; n < 10; n++) await some(500)
    console.log(used() - before < 2 ** 20)`
  expect((await inNode(script, 'module', ['--expose-gc'])).stdout).toBe('true\n')
})
