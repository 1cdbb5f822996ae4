// The example of an engine for all worker threads: run as it is, and with workers that leave, abort, stop reading and fail.

import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import type { Engine, ModelHandle } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { longAnswer, M3_MAX, ROOT, simulated, until } from './support.js'

const EXAMPLE = path.join(ROOT, 'examples', 'worker-threads.mjs')
type Serve = (engine: Engine, model: ModelHandle, worker: Worker) => void

/** Runs `body` in a worker that the example serves. It can use `ask`, `say`, and `params`, which ask for a long answer. */
async function working(body: string, { engine, model }: { engine: Engine; model: ModelHandle }) {
  const { serve } = (await import(EXAMPLE)) as { serve: Serve }
  const params = JSON.stringify({ ...(await longAnswer(400)), maxTokens: 1500, ignoreEos: true })
  const script = `
    const { parentPort } = require('node:worker_threads')
    const say = what => parentPort.postMessage({ type: 'said', what })
    import(${JSON.stringify(EXAMPLE)}).then(async ({ ask }) => {
      const params = ${params}
      ${body}
    })`
  const worker = new Worker(script, { eval: true, env: { ...process.env, VITEST: undefined } })
  onTestFinished(() => void worker.terminate())
  serve(engine, model, worker)
  const said: unknown[] = []
  worker.on('message', ({ type, what }) => type === 'said' && said.push(what))
  return { worker, said, ended: new Promise(resolve => worker.once('exit', resolve)) }
}

test('the example answers the questions of two workers', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [EXAMPLE], { timeout: 25_000 })
  expect(stdout).toMatch(/12 \+ 7\?.*\b19\b/)
  expect(stdout).toContain('Paris')
})

test('a worker gets all chunks and the result, and then ends by itself', async () => {
  const { said, ended } = await working(
    `
    const answer = ask({ ...params, maxTokens: 20 })
    let tokens = 0
    for (let step; !(step = await answer.next()).done || (say(step.value.usage.outputTokens), false); ) tokens += step.value.tokens.length
    say(tokens)`,
    await simulated(),
  )
  expect(await ended).toBe(0)
  expect(said).toEqual([20, 20])
})

test('a worker that leaves its loop, aborts or is terminated cancels its request', async () => {
  const ready = await simulated(M3_MAX)
  const { engine } = ready
  // The first two workers keep running: their requests must be cancelled without the exit of the worker.
  await working(
    'for await (const chunk of ask(params)) if (chunk.text !== "") break; setInterval(() => {}, 1000)',
    ready,
  )
  await until(() => engine.stats().cancelled === 1)
  const aborted = await working(
    `
    const controller = new AbortController()
    try {
      for await (const chunk of ask(params, controller.signal)) if (chunk.text !== '') controller.abort()
    } catch (error) {
      say(error.name)
    }
    setInterval(() => {}, 1000)`,
    ready,
  )
  await until(() => engine.stats().cancelled === 2)
  await until(() => aborted.said.length > 0)
  expect(aborted.said).toEqual(['AbortError'])
  const running = await working('for await (const chunk of ask(params)) say(1)', ready)
  await until(() => running.said.length > 0)
  await running.worker.terminate()
  await until(() => engine.stats().cancelled === 3)
  expect(engine.stats()).toMatchObject({ running: 0, completed: 0, failed: 0 })
})

test('a worker that stops reading pauses its answer', async () => {
  const ready = await simulated(M3_MAX, { streaming: { bufferTokens: 8 } })
  const { said } = await working('const answer = ask(params); await answer.next(); say(1); parentPort.ref()', ready)
  await until(() => said.length === 1 && ready.engine.stats().parked === 1)
  expect(ready.engine.stats().generatedTokens).toBeLessThan(1500)
})

test('an error of the engine has its code in the worker', async () => {
  const { said, ended } = await working(
    'await ask({ prompt: "Hi", maxTokens: -1 }).next().catch(({ name, code }) => say([name, code]))',
    await simulated(),
  )
  expect(await ended).toBe(0)
  expect(said).toEqual([['InvalidParamsError', 'InvalidParams']])
})
