// Schemas as libraries and client generators write them: each is accepted, and an independent validator accepts each complete
// answer.

import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, test } from 'vitest'
import { failure, withMlx } from './support.js'

type Schema = Record<string, unknown>

const SEEDS = 12
/** A bias for `]` and `}`, so that the model closes what it opened. */
const CLOSING = { 65: 8, 97: 8 }
/** In these schemas any text may be a name, so the model seldom ends an answer. */
const ENDLESS = ['a record of texts, as zod writes it', 'a pattern that all names match']
const object = (properties: Record<string, unknown>, more: Schema = {}): Schema => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more,
})
const record = (propertyNames: unknown, more: Schema = {}) =>
  object({ m: { type: 'object', propertyNames, additionalProperties: { type: 'boolean' }, ...more } })
const number = (type: string, more: Schema) => object({ n: { type, ...more } })
const kind = (name: string) => object({ kind: { const: name }, old: { type: 'boolean' } })
const yes = { type: 'boolean' }

const accepted: Record<string, Schema> = {
  'a record of texts, as zod writes it': record({ type: 'string' }, { maxProperties: 2 }),
  'a record with a pattern': record({ pattern: '^[a-z]{1,3}$' }),
  'a record with lengths': record({ minLength: 2, maxLength: 3 }),
  'a record of listed names': record({ enum: ['a', 'b'] }, { required: ['a', 'b'] }),
  'a record of names that may be missing': record({ anyOf: [{ const: 'a' }, { const: 'b' }] }),
  'names by reference, as pydantic writes them': {
    ...record({ $ref: '#/$defs/Color' }),
    $defs: { Color: { enum: ['red', 'green'], title: 'Color', type: 'string' } },
  },
  'names beside properties': object({
    m: {
      type: 'object',
      properties: { a: yes, Z: yes },
      propertyNames: { pattern: '^[a-c]$' },
      additionalProperties: false,
    },
  }),
  'a pattern that a property matches': object(
    { score: { type: 'integer', minimum: 0, maximum: 9 } },
    {
      patternProperties: { '^score$': { maximum: 5 } },
    },
  ),
  'two patterns that a property matches': object(
    { score: { type: 'integer', minimum: 0, maximum: 9 } },
    {
      patternProperties: { '^score$': { maximum: 5 }, '^(score)$': { minimum: 4 } },
    },
  ),
  'a pattern that all names match': {
    ...object({ score: { type: 'integer', minimum: 0, maximum: 9 } }),
    patternProperties: { '': { maximum: 5 } },
    additionalProperties: { type: 'string' },
  },
  int32: number('integer', { format: 'int32' }),
  int64: number('integer', { format: 'int64', minimum: -(2 ** 63), maximum: 2 ** 63 }),
  uint8: number('integer', { format: 'uint8', minimum: 0 }),
  float: number('number', { format: 'float', minimum: -3.4028234663852886e38, maximum: 3.4028234663852886e38 }),
  double: number('number', {
    format: 'double',
    exclusiveMinimum: -Number.MAX_VALUE,
    exclusiveMaximum: Number.MAX_VALUE,
  }),
  'a format with its pattern': object({ id: { type: 'string', format: 'cuid', pattern: '^c[0-9a-z]{6}$' } }),
  'a discriminator': {
    ...object({
      pet: {
        discriminator: { propertyName: 'kind', mapping: { cat: '#/$defs/Cat' } },
        oneOf: [{ $ref: '#/$defs/Cat' }, { $ref: '#/$defs/Dog' }],
      },
    }),
    $defs: { Cat: kind('cat'), Dog: kind('dog') },
  },
  'notes of other programs': object({ a: { ...yes, 'x-order': 1, example: true, contentMediaType: 'text/plain' } }),
  nullable: object({ a: { ...yes, nullable: true } }),
  'a definition that nothing refers to': { ...object({ a: yes }), $defs: { Other: { contains: {} } } },
  '~1 and ~0 and %20': {
    ...object({ a: { $ref: '#/$defs/a~1b' }, b: { $ref: '#/$defs/a~0b' }, c: { $ref: '#/$defs/a%20b' } }),
    $defs: { 'a/b': yes, 'a~b': { type: 'null' }, 'a b': yes },
  },
  'its own $id': {
    $id: 'https://example.org/s.json',
    ...object({ a: { $ref: 'https://example.org/s.json#/$defs/A' }, b: { $ref: 'b.json' }, c: { $ref: '#c' } }),
    $defs: { A: yes, B: { $id: 'b.json', type: 'null' }, C: { $anchor: 'c', type: 'boolean' } },
  },
  'a tree that names itself, as TypeBox writes it': object({
    tree: {
      $id: 'T0',
      ...object({ v: yes, nodes: { type: 'array', items: { $ref: 'T0' }, maxItems: 1 } }),
    },
  }),
  'properties around a choice': {
    patternProperties: { '^x$': yes },
    type: 'object',
    anyOf: [{ required: ['a'] }, { required: ['b'] }],
    properties: { a: yes, b: { type: 'null' } },
    additionalProperties: false,
  },
}

describe('accepted and enforced', () => {
  test.each(Object.entries(accepted))('%s', async (name, schema) => {
    const { engine, model } = await withMlx()
    const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(schema)
    const answer = async (seed: number) => {
      const params = { temperature: 1, seed, maxTokens: 120, logitBias: CLOSING, structured: { schema } }
      const { text, parsed, finishReason } = await engine.generate({ model, prompt: 'Once', ...params })
      if (finishReason === 'stop') expect(validate(parsed), `${text} ${JSON.stringify(validate.errors)}`).toBe(true)
      return finishReason
    }
    const ends = await Promise.all(Array.from({ length: SEEDS }, (_, seed) => answer(seed)))
    if (!ENDLESS.includes(name)) expect(ends).toContain('stop')
  })
})

test.each([
  ['structured.schema.propertyNames', { propertyNames: { pattern: '^a', maxLength: 3 } }],
  ['structured.schema.minProperties', { type: 'object', minProperties: 2 }],
  ['structured.schema.format', { type: 'string', format: 'cuid' }],
  ['structured.schema.$ref', { $ref: '#/$defs/none' }],
])('%s is refused by name where it cannot be enforced', async (path, schema) => {
  const { engine, model } = await withMlx()
  const error = await failure(engine.generate({ model, prompt: 'x', structured: { schema } }))
  expect(error).toMatchObject({ code: 'GuidanceError', param: 'structured.schema' })
  expect(error.message).toContain(`\`${path}\``)
})
