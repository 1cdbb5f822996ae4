// Engines in worker threads: each worker has its own, and a terminated worker does not affect others.

import { once } from 'node:events'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { ROOT } from './support.js'

const INDEX = path.join(ROOT, 'dist', 'index.js')
const OPTIONS = { MLX: '{}', 'a simulated device': "{ backend: { simulated: 'm3-max/llama-3.2-3b-4bit' } }" }

describe.each(Object.entries(OPTIONS))('with %s', (_, options) => {
  const worker = (body: string) =>
    new Worker(
      `const { createEngine } = require(${JSON.stringify(INDEX)})
      const { parentPort } = require('node:worker_threads')
      const main = async () => {
        const engine = await createEngine(${options})
        const model = await engine.loadModel()
        const messages = [{ role: 'user', content: 'What is 12 + 7?' }]
        const params = { model, messages, temperature: 1, seed: 3 }
        ${body}
      }
      main()`,
      { eval: true },
    )
  const message = async (from: Worker) => (await once(from, 'message'))[0]

  test('two workers generate at the same time and end by themselves', async () => {
    const body = 'parentPort.postMessage((await engine.generate({ ...params, maxTokens: 8 })).text)'
    const workers = [worker(body), worker(body)]
    const ends = workers.map(one => once(one, 'exit'))
    const [first, second] = await Promise.all(workers.map(message))
    expect(second).toBe(first)
    expect(first.length).toBeGreaterThan(0)
    expect((await Promise.all(ends)).map(([code]) => code)).toEqual([0, 0])
  })

  test('workers terminated in mid-generation leave the process and other workers alive', async () => {
    const busy = `
      const again = n => engine.generate({ ...params, seed: n }).then(() => again(n + 1))
      for (let n = 0; n < 4; n++) again(n)
      for await (const chunk of engine.generate(params)) { parentPort.postMessage('running'); break }`
    for (let n = 0; n < 3; n++) {
      const [first, second] = [worker(busy), worker(busy)]
      await Promise.all([message(first), message(second)])
      await Promise.all([first.terminate(), second.terminate()])
    }
    const after = worker('parentPort.postMessage((await engine.generate({ ...params, maxTokens: 2 })).tokens.length)')
    expect(await message(after)).toBeGreaterThan(0)
    await after.terminate()
  })
})
