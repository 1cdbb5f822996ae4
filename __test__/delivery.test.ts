// One delivery has the new tokens of all answers. An error in the sink of one answer ends only that answer.

import { createRequire } from 'node:module'
import path from 'node:path'
import type { GenerateChunk, GenerateResult } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { longAnswer, M3_MAX, ROOT, simulated, until } from './support.js'

const inside = createRequire(path.join(ROOT, 'dist', 'index.js'))

/** A sink that throws in one chosen method. */
class Sink {
  text = ''
  end_: GenerateResult | undefined
  error: Error | undefined

  constructor(readonly throws: 'progress' | 'push' | 'end' | 'fail' | 'nothing') {}

  progress() {
    this.#throw('progress')
  }

  push({ text }: GenerateChunk) {
    this.text += text
    this.#throw('push')
  }

  end(result: GenerateResult) {
    this.#throw('end')
    this.end_ = result
  }

  fail(error: Error) {
    this.error = error
    this.#throw('fail')
  }

  #throw(at: string) {
    if (this.throws === at) throw new Error(`thrown at ${at}`)
  }
}

async function hubWithModel() {
  const { Hub } = inside('./hub.js')
  const { Log } = inside('./log.js')
  const hub = new Hub(inside('./load.js').loadAddon(), new Log())
  onTestFinished(() => hub.native.shutdown(0))
  const options = { backend: { simulated: M3_MAX }, scheduler: { batchSize: 8 } }
  await hub.native.start(options, {}, 2 ** 33)
  hub.begin(64)
  const { key } = await hub.native.loadModel({ path: inside('./load.js').demoModel() }, 0)
  return { hub, model: key as number }
}

test('an answer whose sink throws fails alone', async () => {
  const { hub, model } = await hubWithModel()
  // The answers of the sinks that throw first are long, so that they still run at that time.
  const maxTokensOf = (throws: string) => (throws === 'push' || throws === 'progress' ? 1_000 : 12)
  const sinks = (['push', 'end', 'nothing', 'progress', 'fail', 'nothing'] as const).map((throws, seed) => {
    const sinkOf = (reader: { open(): void }) => {
      reader.open()
      return new Sink(throws)
    }
    const options = { onProgress() {} }
    const prompt = throws === 'fail' ? '' : 'Hello'
    const params = { prompt, maxTokens: maxTokensOf(throws), ignoreEos: true, seed }
    return hub.submit(model, { params, options }, sinkOf)[0] as Sink
  })
  await until(() => sinks.every(sink => sink.end_ ?? sink.error))
  for (const sink of sinks) {
    if (sink.throws === 'nothing') {
      expect(sink.end_?.tokens.length).toBe(12)
      expect(sink.text).toBe(sink.end_?.text)
    } else {
      expect(sink.error).toMatchObject({ code: 'BackendError', cause: { message: `thrown at ${sink.throws}` } })
    }
  }
  // The work of the failed answers has ended.
  await until(() => hub.native.stats().cancelled === 2)
  expect(hub.native.stats().running).toBe(0)
})

test('a signal that throws in removeEventListener harms no generation', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
  const signal = {
    aborted: false,
    addEventListener() {},
    removeEventListener() {
      throw new Error('a signal of another kind')
    },
  }
  const all = [engine.generate(params, { signal: signal as never }), engine.generate(params)]
  const [first, second] = await Promise.all(all)
  expect(first.text).toBe(second.text)
})

test('a signal that throws in addEventListener ends its generation and leaves no work running', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const signal = {
    aborted: false,
    addEventListener() {
      throw new Error('not today')
    },
    removeEventListener() {},
  }
  const generation = engine.generate({ ...(await longAnswer(100)), model }, { signal: signal as never })
  await expect(generation).rejects.toThrow('not today')
  await until(() => engine.stats().cancelled === 1)
})
