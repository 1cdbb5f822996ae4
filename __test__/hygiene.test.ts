// Side effects that a generation must not have: unhandled rejections, a lost async context, and memory leaks.

import { AsyncLocalStorage } from 'node:async_hooks'
import { expect, test } from 'vitest'
import { inNode, simulated } from './support.js'

const START = `
  import { createEngine } from 'mlx-serving'
  const engine = await createEngine({ backend: { simulated: 'instant' } })
  const model = await engine.loadModel()
  const settle = () => new Promise(resolve => setTimeout(resolve, 50))
  process.on('unhandledRejection', error => console.log('unhandled', error.code))`

test('a failed generation that is ignored causes no unhandled rejection', async () => {
  const script = `${START}
    engine.generate({ model, prompt: '' })
    engine.generate({ model: 'unknown', prompt: '' })
    engine.generate(null)
    await settle()
    console.log('alive')`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'alive\n' })
})

test('a failed generation that is iterated causes no second rejection', async () => {
  const script = `${START}
    try {
      for await (const _ of engine.generate({ model, prompt: '' }));
    } catch (error) {
      console.log('caught', error.code)
    }
    await settle()`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'caught InvalidParams\n' })
})

test('a generation that is left or disposed causes no unhandled rejection', async () => {
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

test('a failed await without a handler causes one unhandled rejection', async () => {
  const script = `${START}
    engine.generate({ model, prompt: '' }).then(() => {})
    await settle()`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: 'unhandled InvalidParams\n' })
})

test('awaiting and iterating keep the async context of the caller', async () => {
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

test('ended generations are garbage-collected, whether they were awaited, read or left', async () => {
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

test('an unreferenced engine is garbage-collected, but not while it works', async () => {
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

test('an engine that was shut down leaves no open handles in the process', async () => {
  const script = `
    import { createHook } from 'node:async_hooks'
    const open = new Map()
    createHook({ init: (id, type) => open.set(id, type), destroy: id => open.delete(id) }).enable()
    const ours = () => [...open.values()].filter(type => type.startsWith('napi'))
    const { createEngine } = await import('mlx-serving')
    const engine = await createEngine({ backend: { simulated: 'instant' } })
    const model = await engine.loadModel()
    const params = { model, prompt: 'Hello', maxTokens: 8 }
    await engine.generate(params, { timeoutMs: 60_000, signal: new AbortController().signal })
    for await (const _ of engine.generate(params)) break
    await engine.tokenize({ model, text: 'Hello' })
    console.log(ours().length > 0)
    await engine.shutdown()
    await createEngine({ backend: 'none' }).catch(error => console.log(error.code))
    const { setTimeout: pause } = await import('node:timers/promises')
    const active = () => process.getActiveResourcesInfo().filter(type => !/Pipe|TTY/.test(type))
    // Threads of the engine close their handles soon after its end. With a leak, the loop runs until the time limit.
    do await pause(50); while (ours().length + active().length > 0)
    console.log('none')`
  expect(await inNode(script)).toEqual({ code: 0, signal: null, stdout: 'true\nConfigError\nnone\n', stderr: '' })
})

test('many engines in a row leak neither threads nor memory', { timeout: 120_000 }, async () => {
  const script = `
    import { existsSync, readFileSync } from 'node:fs'
    import { createEngine } from 'mlx-serving'
    const some = async count => {
      for (let n = 0; n < count; n++) {
        const engine = await createEngine()
        const model = await engine.loadModel()
        await engine.generate({ model, prompt: 'Once', maxTokens: 4 })
        await engine.dispose()
      }
      gc()
      const threads = existsSync('/proc') ? Number(/Threads:\\s+(\\d+)/.exec(readFileSync('/proc/self/status'))[1]) : 0
      return { threads, mb: process.memoryUsage.rss() / 2 ** 20 }
    }
    const before = await some(50)
    const after = await some(50)
    console.log(after.threads - before.threads < 5, after.mb - before.mb < 0.2 * 50)`
  expect(await inNode(script, 'module', ['--expose-gc'])).toMatchObject({ code: 0, stdout: 'true true\n' })
})

/** Runs the garbage collector, and gives the engine time to end unreferenced generations. */
const FORGET = `
  const { setTimeout: pause } = await import('node:timers/promises')
  const forget = async () => { for (let n = 0; n < 5; n++) { gc(); await pause(30) } }
  const open = () => { const { running, queued } = engine.stats(); return running + queued }
  const params = { model, prompt: 'Once', maxTokens: 2000, ignoreEos: true }`

const UNREFERENCED = {
  'a generation that was never read': 'engine.generate(params)',
  'an iterator that was started': 'await engine.generate(params)[Symbol.asyncIterator]().next()',
  'a loop over several answers that did not continue':
    'await engine.generate({ ...params, n: 3 })[Symbol.asyncIterator]().next()',
  'a generator that was started': 'await engine.createGenerator(params).next()',
  'a web stream that was started': 'await engine.generate(params).toReadableStream().getReader().read()',
  'a generation that its own callback refers to':
    'const own = engine.generate(params, { onProgress: () => own.cancel }); await own[Symbol.asyncIterator]().next()',
}

test.each(Object.entries(UNREFERENCED))('%s ends once nothing refers to it, and frees its row', async (_, begin) => {
  const script = `
    import { createEngine } from 'mlx-serving'
    const engine = await createEngine({ backend: { simulated: 'm3-max/llama-3.2-3b-4bit' }, scheduler: { maxPending: 3 } })
    const model = await engine.loadModel()
    ${FORGET}
    await (async () => { ${begin} })()
    const { requests, cancelled } = engine.stats()
    do await forget(); while (engine.stats().cancelled < requests)
    console.log(requests - cancelled > 0, open())
    console.log((await engine.generate({ ...params, maxTokens: 2, n: 3 })).choices.length)`
  expect(await inNode(script, 'module', ['--expose-gc'])).toEqual({
    code: 0,
    signal: null,
    stdout: 'true 0\n3\n',
    stderr: '',
  })
})

test('a promise, a pending read and an iterator each keep a generation running', async () => {
  const script = `
    import { createEngine } from 'mlx-serving'
    const engine = await createEngine({ backend: { simulated: 'm3-max/llama-3.2-3b-4bit' } })
    const model = await engine.loadModel()
    ${FORGET}
    const short = { ...params, maxTokens: 30 }
    const awaited = engine.generate(short).then(({ tokens }) => tokens.length)
    const pending = engine.generate(short)[Symbol.asyncIterator]().next().then(({ value }) => value.tokens.length)
    const iterator = engine.generate({ ...short, n: 2 })[Symbol.asyncIterator]()
    await forget()
    let num = 0
    for await (const { tokens } of iterator) num += tokens.length
    console.log(await awaited, (await pending) > 0, num)`
  expect((await inNode(script, 'module', ['--expose-gc'])).stdout).toBe('30 true 60\n')
})
