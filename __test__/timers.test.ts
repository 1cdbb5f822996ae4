// Tests of code that uses this library may use fake timers: the engine keeps the real ones and does not touch the fake ones.

import { afterEach, expect, test, vi } from 'vitest'
import { inNode, simulated } from './support.js'

afterEach(() => void vi.useRealTimers())

const START = `
  import { mock } from 'node:test'
  import { createEngine } from 'mlx-serving'
  const engine = await createEngine({ backend: { simulated: 'm3-max/llama-3.2-3b-4bit' } })
  const model = await engine.loadModel()
  const ask = async () => console.log((await engine.generate({ model, prompt: 'Hello', maxTokens: 2 })).tokens.length)`

test('with the fake timers of vitest generations end, and the engine sets none of these timers', async () => {
  const { engine, model } = await simulated()
  vi.useFakeTimers()
  for (let n = 0; n < 3; n++) {
    const { tokens } = await engine.generate({ model, prompt: `Hello ${n}`, maxTokens: 2 })
    expect(tokens.length).toBe(2)
  }
  expect(vi.getTimerCount()).toBe(0)
})

test('with the fake timers of node:test, which also replace node:timers, generations end', async () => {
  const script = `${START}
    mock.timers.enable()
    for (let n = 0; n < 3; n++) await ask()`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: '2\n2\n2\n' })
})

test('a generation keeps the process alive under a fake setInterval', async () => {
  const script = `${START}
    mock.timers.enable({ apis: ['setInterval'] })
    ask()`
  expect(await inNode(script)).toMatchObject({ code: 0, stdout: '2\n' })
})
