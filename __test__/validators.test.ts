// A validator of a library in place of a JSON schema: the error says how to get its JSON schema.

import { expect, test } from 'vitest'
import { z } from 'zod'
import { z as z3 } from 'zod/v3'
import { failure, simulated } from './support.js'

/** A plain object of the Standard Schema interface, as valibot makes. */
const standard = (vendor: unknown) => ({
  kind: 'schema',
  reference: () => {},
  get '~standard'() {
    return { version: 1, vendor, validate: () => {} }
  },
})

/** The validators of zod before 3.24 lack the interface. */
const older = Object.create(Object.getPrototypeOf(z3.object({})), {
  _def: { value: { typeName: 'ZodObject' }, enumerable: true },
})
const callable = Object.assign(() => {}, { '~standard': { version: 1, vendor: 'arktype', validate: () => {} } })

const cases: [string, unknown, string, RegExp][] = [
  ['zod 4', z.object({ a: z.string() }), '', /is a zod schema: .*`z\.toJSONSchema\(schema\)`/],
  ['zod 4 inside a schema', { type: 'object', properties: { a: z.string() } }, '.properties.a', /`z\.toJSONSchema/],
  ['zod 3', z3.object({ a: z3.string() }), '', /is a zod 3 schema: .*zod-to-json-schema/],
  ['zod 3, older', older, '', /is a zod 3 schema/],
  ['valibot', standard('valibot'), '', /is a valibot schema: .*@valibot\/to-json-schema/],
  ['arktype', callable, '', /is an arktype schema: .*`schema\.toJsonSchema\(\)`/],
  ['another library', standard('sure'), '', /is a schema of sure: pass its JSON schema/],
  ['a library without a name', standard(4), '', /is a schema of another library/],
]

test.each(cases)('%s', async (_, schema, at, advice) => {
  const { engine, model } = await simulated()
  const inSchema = await failure(engine.generate({ model, prompt: 'x', structured: { schema: schema as object } }))
  expect(inSchema).toMatchObject({ code: 'GuidanceError', param: `structured.schema${at}` })
  expect(inSchema.message).toMatch(advice)
  const tools = [{ type: 'function', function: { name: 'f', parameters: schema as object } } as const]
  const messages = [{ role: 'user', content: 'x' }]
  const inTool = await failure(engine.generate({ model, messages, tools }))
  expect(inTool).toMatchObject({ code: 'InvalidParams', param: `tools[0].function.parameters${at}` })
  expect(inTool.message).toMatch(advice)
})

test('the error about a validator or a bare schema in place of `structured` says what to pass', async () => {
  const { engine, model } = await simulated()
  const advice = async (structured: unknown) => {
    const error = await failure(engine.generate({ model, prompt: 'x', structured: structured as { regex: string } }))
    expect(error.code).toBe('GuidanceError')
    return error.message
  }
  expect(await advice(z.object({ a: z.string() }))).toMatch(/`structured` is a zod schema: .*`structured: { schema }`$/)
  expect(await advice(callable)).toMatch(/`structured` is an arktype schema/)
  const bare = { type: 'object', properties: {} }
  expect(await advice(bare)).toContain('pass the JSON schema itself: `structured: { schema }`')
  expect(await advice({ json_schema: { schema: bare } })).toContain('pass the JSON schema itself')
})

test('the JSON schema that zod makes is accepted', async () => {
  const { engine, model } = await simulated()
  const schema = z.toJSONSchema(z.object({ a: z.enum(['x', 'y']) }))
  const { text } = await engine.generate({ model, prompt: 'x', structured: { schema }, maxTokens: 60 })
  expect(text).toContain('{')
})

test('other values that are not JSON keep their error, and so do getters that throw', async () => {
  const { engine, model } = await simulated()
  const refused = (schema: object) => failure(engine.generate({ model, prompt: 'x', structured: { schema } }))
  expect((await refused({ a: new Date() })).message).toContain('must be JSON, not a date')
  expect((await refused({ a: () => {} })).message).toContain('must be JSON, not a function')
  const thrown = new Error('no')
  const throwing = Object.defineProperty({ f: () => {} }, '~standard', {
    get() {
      throw thrown
    },
  })
  const error = await refused(throwing)
  expect([error.code, error.cause]).toEqual(['InvalidParams', thrown])
})
