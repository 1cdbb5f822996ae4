// For random schemas of enforced keywords, an independent validator accepts each complete answer.

import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect, test } from 'vitest'
import { schemaOf } from './schemas.js'
import { withMlx } from './support.js'

const NUM_PAIRS = 500
const AT_ONCE = 50
/** Checks of the formats in the schemas; the validator has none of its own. */
const FORMATS = {
  date: /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/,
  time: /^([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]\d\d:\d\d)$/i,
  ipv4: /^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.|$)){4}$/,
  uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
}

test(`${NUM_PAIRS} random schemas and seeds give valid JSON`, { timeout: 120_000 }, async () => {
  const { engine, model } = await withMlx()
  const ajv = new Ajv2020({ formats: FORMATS, allowUnionTypes: true })
  const numDone = { stop: 0, length: 0 }
  const answer = async (seed: number) => {
    const schema = schemaOf(seed)
    const params = { temperature: 1, seed, maxTokens: 160, structured: { schema } }
    const { text, parsed, finishReason } = await engine.generate({ model, prompt: 'Tell me', ...params } as never)
    numDone[finishReason as 'stop' | 'length']++
    if (finishReason !== 'stop') return
    const isValid = ajv.validate(schema, JSON.parse(text))
    expect(isValid, `${JSON.stringify(schema)} ${text} ${ajv.errorsText()}`).toBe(true)
    expect(parsed).toEqual(JSON.parse(text))
  }
  for (let from = 0; from < NUM_PAIRS; from += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => answer(from + index)))
  }
  expect(numDone.stop + numDone.length).toBe(NUM_PAIRS)
  // Enough complete answers, so that the test is meaningful.
  expect(numDone.stop).toBeGreaterThan(NUM_PAIRS * 0.8)
})
