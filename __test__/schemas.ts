// Random JSON schemas from a seed, with enforced keywords only, and with answers that a small model can end.

type Schema = Record<string, unknown>

/** A generator of numbers in [0, 1), the same for each seed. */
function random(seed: number): () => number {
  let state = seed + 0x9e3779b9
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const WORDS = ['name', 'age', 'is_new', 'größe', 'a "b"', 'tags', 'x\\y', '日本']
const VALUES = ['red', 'green', 'a "b"\n', '', 0, -1.5, 12, true, false, null, '日本 😀']

/** The schema for a seed. */
export function schemaOf(seed: number): Schema {
  const next = random(seed)
  const whole = (from: number, to: number) => from + Math.floor(next() * (to - from + 1))
  const one = <T>(items: readonly T[]): T => items[whole(0, items.length - 1)]
  const some = <T>(items: readonly T[], least: number) =>
    [...items].sort(() => next() - 0.5).slice(0, whole(least, Math.min(items.length, 3)))
  const maybe = (schema: Schema) => (next() < 0.5 ? schema : {})

  const kinds: Record<string, (depth: number) => Schema> = {
    string: () => {
      const minLength = whole(0, 3)
      return { type: 'string', ...maybe({ minLength }), maxLength: minLength + whole(0, 8) }
    },
    pattern: () => ({ type: 'string', pattern: one(['^[a-z]{1,5}$', '^\\d{3}-\\w+$', '^(x|yz){2}$']), maxLength: 12 }),
    format: () => ({ type: 'string', format: one(['date', 'time', 'ipv4', 'uuid']) }),
    integer: () => {
      const minimum = whole(-1000, 1000)
      return {
        type: 'integer',
        minimum,
        maximum: minimum + whole(0, 500),
        ...(next() < 0.2 && { minimum: -9000, multipleOf: 7 }),
      }
    },
    number: () => {
      const minimum = whole(-10, 10) / 4
      return {
        type: 'number',
        ...(next() < 0.5 ? { minimum } : { exclusiveMinimum: minimum }),
        maximum: minimum + whole(1, 30),
      }
    },
    boolean: () => ({ type: one(['boolean', 'null']) }),
    enum: () => ({ enum: some(VALUES, 1) }),
    const: () => ({ const: one([...VALUES, [1, 'a'], { a: [null] }]) }),
    union: depth => ({ anyOf: [schema(depth + 1), schema(depth + 1)] }),
    types: () => ({ type: ['integer', 'null'], minimum: 1, maximum: 20 }),
    array: depth => {
      const minItems = whole(0, 2)
      return { type: 'array', items: schema(depth + 1), ...maybe({ minItems }), maxItems: minItems + whole(0, 2) }
    },
    tuple: depth => ({ type: 'array', prefixItems: [schema(depth + 1), schema(depth + 1)], items: false, minItems: 2 }),
    object: depth => {
      const names = some(WORDS, 0)
      const properties = Object.fromEntries(names.map(name => [name, schema(depth + 1)]))
      return { type: 'object', properties, required: names.filter(() => next() < 0.6), additionalProperties: false }
    },
    reference: () => ({ $ref: '#/$defs/leaf' }),
  }
  const nesting = ['union', 'array', 'tuple', 'object']
  const flat = Object.keys(kinds).filter(kind => !nesting.includes(kind))
  const schema = (depth: number): Schema => kinds[one(depth < 3 ? [...flat, ...nesting, ...nesting] : flat)](depth)
  return { ...schema(0), $defs: { leaf: { enum: ['leaf', 1] } } }
}
