// stopSequences: they are found in the text, across token borders. Text after a stop sequence is not delivered. The
// stop sequence itself is delivered only with includeStop.

import { describe, expect, test } from 'vitest'
import { failure, longAnswer, read, sharing, simulated } from './support.js'

/** The position and length of a stop sequence that is taken from an answer. */
const PLACES = [
  [5, 1],
  [9, 3],
  [17, 12],
  [30, 2],
]

async function answer() {
  const { engine, model } = await simulated()
  const params = { ...(await longAnswer(60)), model, maxTokens: 60 }
  return { engine, params, whole: (await engine.generate(params)).text }
}

test('the answer ends before a stop sequence, streamed or awaited', async () => {
  const { engine, params, whole } = await answer()
  for (const [start, length] of PLACES) {
    const stop = whole.slice(start, start + length)
    const before = whole.slice(0, whole.indexOf(stop))
    const result = await engine.generate({ ...params, stopSequences: [stop] })
    expect(result).toMatchObject({ text: before, finishReason: 'stop' })
    expect((await read(engine.generate({ ...params, stopSequences: [stop] }))).text).toBe(before)
  }
})

test('the first of several stop sequences ends the answer', async () => {
  const { engine, params, whole } = await answer()
  const [late, early] = [whole.slice(40, 46), whole.slice(12, 16)]
  const first = Math.min(whole.indexOf(late), whole.indexOf(early))
  const result = await engine.generate({ ...params, stopSequences: [late, early] })
  expect(result.text).toBe(whole.slice(0, first))
})

test('a stop sequence that does not appear has no effect', async () => {
  const { engine, params, whole } = await answer()
  const almost = `${whole.slice(-4)}\u0000`
  const result = await engine.generate({ ...params, stopSequences: [almost] })
  expect(result.text).toBe(whole)
  expect((await read(engine.generate({ ...params, stopSequences: [almost] }))).text).toBe(whole)
})

describe('includeStop', () => {
  test('the answer ends with the stop sequence, streamed or awaited', async () => {
    const { engine, params, whole } = await answer()
    for (const [start, length] of PLACES) {
      const stop = whole.slice(start, start + length)
      const upTo = whole.slice(0, whole.indexOf(stop) + length)
      const asked = { ...params, stopSequences: [stop], includeStop: true }
      expect(await engine.generate(asked)).toMatchObject({ text: upTo, finishReason: 'stop' })
      expect((await read(engine.generate(asked))).text).toBe(upTo)
      expect((await engine.generate({ ...asked, includeStop: false })).text).toBe(upTo.slice(0, -length))
    }
  })

  test('answers with and without it are cached separately', async () => {
    const { engine, model } = await sharing()
    const params = { ...(await longAnswer(60)), model }
    const { text } = await engine.generate(params)
    const ask = (includeStop: boolean) =>
      engine.generate({ ...params, stopSequences: [text.slice(9, 12)], includeStop })
    const [without, included, again] = [await ask(false), await ask(true), await ask(true)]
    expect([without.served, included.served, again.served]).toEqual(['computed', 'computed', 'cached'])
    expect(included.text).toBe(without.text + text.slice(9, 12))
    expect(again.text).toBe(included.text)
  })

  test('a stop token has no text', async () => {
    const { engine, params } = await answer()
    const { tokens } = await engine.generate(params)
    const ask = (includeStop: boolean) => engine.generate({ ...params, stopTokenIds: [tokens[7]], includeStop })
    const [without, included] = [await ask(false), await ask(true)]
    expect(included.finishReason).toBe('stop')
    expect([included.text, [...included.tokens]]).toEqual([without.text, [...without.tokens]])
    expect(included.tokens.at(-1)).toBe(tokens[7])
  })

  test.each([1, 'true', {}])('the error about includeStop: %j names it', async includeStop => {
    const { engine, params } = await answer()
    const error = await failure(engine.generate({ ...params, includeStop: includeStop as boolean }))
    expect(error).toMatchObject({ code: 'InvalidParams', param: 'includeStop' })
  })
})
