// A device that fails: the requests of that step fail with BackendError. Other requests and the engine continue.

import { BackendError, type SimulatedFault } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { failure, INSTANT, longAnswer, M3_MAX, simulated } from './support.js'

const failing = (...faults: SimulatedFault[]) => simulated(INSTANT, { backend: { simulated: INSTANT, faults } })

describe.each(['submit', 'collect', 'panic'] as const)('a device that fails at %s', kind => {
  test('the running generation fails, and the next one gets its whole answer', async () => {
    const { engine, model } = await failing({ step: 5, kind })
    const params = { ...(await longAnswer(40)), model, maxTokens: 40 }
    const error = await failure(engine.generate(params))
    expect(error).toBeInstanceOf(BackendError)
    expect(error.code).toBe('BackendError')
    const { tokens } = await engine.generate(params)
    expect(tokens.length).toBe(40)
    expect(engine.stats()).toMatchObject({ failed: 1, completed: 1, recoveries: 1, running: 0 })
  })

  test('a stream delivers the chunks from before the failure', async () => {
    const { engine, model } = await failing({ step: 5, kind })
    const params = { ...(await longAnswer(40)), model, maxTokens: 40 }
    let text = ''
    const loop = async () => {
      for await (const chunk of engine.generate(params)) text += chunk.text
    }
    expect(await failure(loop())).toBeInstanceOf(BackendError)
    const whole = await engine.generate(params)
    expect(text.length).toBeGreaterThan(0)
    expect(whole.text.startsWith(text)).toBe(true)
  })
})

test.each([M3_MAX, INSTANT])(
  'on %s, NaN logits end only their own generation, and no other is recomputed',
  async simulation => {
    const faults: SimulatedFault[] = [3, 7].map(step => ({ step, kind: 'logits' }))
    const { engine, model } = await simulated(simulation, { backend: { simulated: simulation, faults } })
    const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
    const ends = await Promise.all(Array.from({ length: 6 }, () => engine.generate(params).catch(error => error)))
    const failed = ends.filter(end => end instanceof BackendError)
    expect(failed.map(({ message }) => /logits are NaN or infinite/.test(message))).toEqual([true, true])
    const texts = ends.filter(end => !(end instanceof Error)).map(({ text }) => text)
    expect(new Set(texts).size).toBe(1)
    expect(texts.length).toBe(4)
    expect((await engine.generate(params)).text).toBe(texts[0])
    expect(engine.stats()).toMatchObject({ failed: 2, completed: 5, recoveries: 0, running: 0 })
  },
)

test('queued generations are not affected', async () => {
  const options = {
    scheduler: { enabled: false },
    backend: { simulated: INSTANT, faults: [{ step: 5, kind: 'collect' as const }] },
  }
  const { engine, model } = await simulated(INSTANT, options)
  const params = { ...(await longAnswer(40)), model, maxTokens: 40 }
  const [first, ...rest] = [1, 2, 3].map(() => engine.generate(params))
  expect(await failure(first)).toBeInstanceOf(BackendError)
  expect((await Promise.all(rest)).map(({ tokens }) => tokens.length)).toEqual([40, 40])
})

test('each of several failures ends only its own step', async () => {
  const faults = Array.from({ length: 10 }, (_, n) => ({ step: 3 * n, kind: 'panic' as const }))
  const backend = { simulated: INSTANT, faults }
  const { engine, model } = await simulated(INSTANT, { backend, retry: { enabled: false } })
  const ends = []
  for (let n = 0; n < 30; n++) {
    ends.push(
      await engine.generate({ model, prompt: 'Hello', maxTokens: 1 }).then(
        () => 'ended',
        error => error.code,
      ),
    )
  }
  expect(ends.filter(end => end === 'BackendError').length).toBe(10)
})
