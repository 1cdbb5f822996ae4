// Processes with an engine end as requested, in time, and without a crash.

import { describe, expect, test } from 'vitest'
import { inNode } from './support.js'

const OPTIONS = { MLX: '{}', 'a simulated device': "{ backend: { simulated: 'm3-max/llama-3.2-3b-4bit' } }" }
const PATIENT = { timeout: 120_000 }

describe.each(Object.entries(OPTIONS))('with %s', (_, options) => {
  const start = `
    import { createEngine } from 'mlx-serving'
    const engine = await createEngine(${options})
    const model = await engine.loadModel()
    const params = { model, prompt: 'Tell me everything.', temperature: 1, seed: 3 }
    // Many answers, so that the device is never idle, however long a single answer is.
    const again = seed => engine.generate({ ...params, seed }).then(() => again(seed + 1), () => {})
    const keepBusy = rows => Array.from({ length: rows }, (_, n) => again(1000 * n))`
  const clean = { signal: null, stderr: '' }

  test('an engine that is never closed does not keep the process alive', async () => {
    const script = `${start}
      const { tokens } = await engine.generate({ ...params, maxTokens: 3 })
      console.log(tokens.length > 0)`
    expect(await inNode(script)).toEqual({ ...clean, code: 0, stdout: 'true\n' })
  })

  test('a closed engine does not keep the process alive', async () => {
    const script = `${start}
      await engine.generate({ ...params, maxTokens: 3 })
      await engine.shutdown()
      console.log('closed')`
    expect(await inNode(script)).toEqual({ ...clean, code: 0, stdout: 'closed\n' })
  })

  test('an awaited generation, load or shutdown keeps the process alive', async () => {
    const script = `
      import { createEngine } from 'mlx-serving'
      createEngine(${options}).then(async engine => {
        const model = await engine.loadModel()
        await engine.generate({ model, prompt: 'Hello', maxTokens: 20 })
        await engine.shutdown()
        console.log('done')
      })`
    expect(await inNode(script)).toEqual({ ...clean, code: 0, stdout: 'done\n' })
  })

  test('a pending read of a stream keeps the process alive, an abandoned stream does not', async () => {
    // An abandoned stream that kept the process alive would be parked for 60 s. `inNode` ends the process before that.
    const script = `${start}
      const long = { ...params, maxTokens: 400, ignoreEos: true }
      const [begun, asked] = [engine.generate(long)[Symbol.asyncIterator](), engine.generate({ ...long, n: 2 })]
      await begun.next()
      await asked[Symbol.asyncIterator]().next()
      process.exitCode = 9
      await engine.generate({ ...params, maxTokens: 60 })
      console.log('the script is over')`
    expect(await inNode(script)).toEqual({ ...clean, code: 9, stdout: 'the script is over\n' })
  })

  test('process.exit in mid-stream exits with its code', async () => {
    const script = `${start}
      keepBusy(4)
      for await (const _ of engine.generate(params)) process.exit(7)`
    expect(await inNode(script)).toEqual({ ...clean, code: 7, stdout: '' })
  })

  test('process.exit with many generations running exits with its code', async () => {
    const script = `${start}
      keepBusy(50)
      for await (const _ of engine.generate(params)) process.exit(3)`
    expect(await inNode(script)).toEqual({ ...clean, code: 3, stdout: '' })
  })

  test('process.exit while starting exits with its code', async () => {
    const script = `
      import { createEngine } from 'mlx-serving'
      createEngine(${options})
      setImmediate(() => process.exit(4))`
    expect(await inNode(script)).toEqual({ ...clean, code: 4, stdout: '' })
  })

  test('process.exit while loading exits with its code', async () => {
    const script = `
      import { createEngine } from 'mlx-serving'
      const engine = await createEngine(${options})
      engine.loadModel()
      setImmediate(() => process.exit(5))`
    expect(await inNode(script)).toEqual({ ...clean, code: 5, stdout: '' })
  })

  test('an uncaught error in mid-stream exits with 1 and shows the error', async () => {
    const script = `${start}
      keepBusy(4)
      for await (const _ of engine.generate(params)) throw new Error('the application failed')`
    const exit = await inNode(script)
    expect(exit).toMatchObject({ code: 1, signal: null })
    expect(exit.stderr).toContain('the application failed')
  })

  test('a signal in mid-stream ends the process', async () => {
    const script = `${start}
      keepBusy(4)
      for await (const _ of engine.generate(params)) process.kill(process.pid, 'SIGTERM')`
    expect(await inNode(script)).toEqual({ ...clean, code: null, signal: 'SIGTERM', stdout: '' })
  })

  // `reallyExit` emits no event, as an exit from native code.
  test.each(['exit', 'reallyExit'])('process.%s in mid-stream is clean each time', PATIENT, async exit => {
    const script = `${start}
      keepBusy(8)
      setTimeout(() => process.${exit}(0), 20 * Math.random())`
    for (let n = 0; n < 16; n++) expect(await inNode(script)).toEqual({ ...clean, code: 0, stdout: '' })
  })
})
