// stopSequences: found in the text, wherever tokens begin and end; neither they nor what follows is delivered.

import { expect, test } from 'vitest'
import { longAnswer, read, simulated } from './support.js'

async function answer() {
  const { engine, model } = await simulated()
  const params = { ...(await longAnswer(60)), model, maxTokens: 60 }
  return { engine, params, whole: (await engine.generate(params)).text }
}

test('the answer ends before a stop sequence, streamed or awaited', async () => {
  const { engine, params, whole } = await answer()
  for (const [start, length] of [
    [5, 1],
    [9, 3],
    [17, 12],
    [30, 2],
  ]) {
    const stop = whole.slice(start, start + length)
    const before = whole.slice(0, whole.indexOf(stop))
    const result = await engine.generate({ ...params, stopSequences: [stop] })
    expect(result).toMatchObject({ text: before, finishReason: 'stop' })
    expect((await read(engine.generate({ ...params, stopSequences: [stop] }))).text).toBe(before)
  }
})

test('the first of several counts', async () => {
  const { engine, params, whole } = await answer()
  const [late, early] = [whole.slice(40, 46), whole.slice(12, 16)]
  const first = Math.min(whole.indexOf(late), whole.indexOf(early))
  const result = await engine.generate({ ...params, stopSequences: [late, early] })
  expect(result.text).toBe(whole.slice(0, first))
})

test('one that does not appear takes nothing away', async () => {
  const { engine, params, whole } = await answer()
  const almost = `${whole.slice(-4)}\u0000`
  const result = await engine.generate({ ...params, stopSequences: [almost] })
  expect(result.text).toBe(whole)
  expect((await read(engine.generate({ ...params, stopSequences: [almost] }))).text).toBe(whole)
})
