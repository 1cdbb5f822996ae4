// `structured`: enforced token by token, beside unconstrained answers, in streams and in cached answers.

import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { GenerateParams, GenerateResult, GeneratorItem, Message, Structured } from 'mlx-serving'
import { GuidanceError, InvalidParamsError } from 'mlx-serving'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  crowded,
  failure,
  IN_FLOAT32,
  IN_HALF_PRECISION,
  IN_OWN_PRECISION,
  ON_MLX,
  type OnMlx,
  type Ready,
  ROOT,
  read,
  sharing,
  simulated,
  withMlx,
} from './support.js'

const PROMPT = 'What is 12 + 7?'
const CHAT: Message[] = [{ role: 'user', content: PROMPT }]
const HOT = { temperature: 1.2, seed: 5, maxTokens: 200 }
const PERSON = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 12 },
    age: { type: 'integer', minimum: 0, maximum: 150 },
    tags: { type: 'array', items: { enum: ['a', 'b'] }, maxItems: 3 },
  },
  required: ['name', 'age'],
  additionalProperties: false,
} as const

const ask = ({ engine, model }: Ready, params: Partial<GenerateParams>) =>
  engine.generate({ model, prompt: PROMPT, ...HOT, ...params } as GenerateParams)

describe.each<OnMlx>([...ON_MLX, ['a simulated device', () => simulated()]])('with %s', (_, open) => {
  test('a schema gives JSON, and the result has its value', async () => {
    const ready = await open()
    for (const seed of [1, 2, 3]) {
      const { text, parsed, finishReason } = await ask(ready, { seed, structured: { schema: PERSON } })
      expect(finishReason).toBe('stop')
      expect(parsed).toEqual(JSON.parse(text))
      expect(parsed).toMatchObject({ name: expect.any(String), age: expect.any(Number) })
    }
  })

  test('the whole text matches a regex', async () => {
    const ready = await open()
    for (const seed of [1, 2, 3]) {
      const { text, parsed } = await ask(ready, { seed, structured: { regex: '[A-Z][a-z]{2,8} is \\d+\\.' } })
      expect(text).toMatch(/^[A-Z][a-z]{2,8} is [0-9]+\.$/)
      expect(parsed).toBeUndefined()
    }
  })

  test('the text matches a grammar', async () => {
    const ready = await open()
    const grammar = 'start: number (" " ("+" | "-") " " number){2}\nnumber: /[1-9][0-9]?/'
    const { text } = await ask(ready, { structured: { grammar } })
    expect(text).toMatch(/^[1-9][0-9]?( [+-] [1-9][0-9]?){2}$/)
  })

  test('the text is one of the choices', async () => {
    const ready = await open()
    const choices = ['yes', 'yes, please', 'no', '"so\\so"', '日本 😀']
    const answers = Array.from({ length: 20 }, (_, seed) =>
      ask(ready, { seed, temperature: 2, structured: { choices } }),
    )
    for (const { text, finishReason } of await Promise.all(answers)) {
      expect(choices).toContain(text)
      expect(finishReason).toBe('stop')
    }
  })

  test('a stream delivers the same text in chunks', async () => {
    const ready = await open()
    const whole = await ask(ready, { structured: { schema: PERSON } })
    const generation = ask(ready, { structured: { schema: PERSON } })
    const streamed = await read(generation)
    expect(streamed.text).toBe(whole.text)
    expect(streamed.tokens).toEqual([...whole.tokens])
    expect((await generation).parsed).toEqual(whole.parsed)
  })

  test('each of several answers has its value, and so has a generator', async () => {
    const ready = await open()
    const { choices } = await ask(ready, { n: 3, structured: { schema: PERSON } })
    expect(choices).toHaveLength(3)
    for (const { text, parsed } of choices ?? []) expect(parsed).toEqual(JSON.parse(text))
    const items = ready.engine.createGenerator({
      ...HOT,
      model: ready.model,
      prompt: PROMPT,
      structured: { schema: PERSON },
    })
    let last: GeneratorItem | undefined
    for await (const item of items) last = item
    expect(last).toMatchObject({ type: 'metadata', result: { parsed: { name: expect.any(String) } } })
  })

  test('an answer that is cut short has no value', async () => {
    const ready = await open()
    const whole = await ask(ready, { structured: { schema: PERSON } })
    const cut = await ask(ready, { structured: { schema: PERSON }, maxTokens: whole.tokens.length - 1 })
    expect(cut.finishReason).toBe('length')
    expect(cut).not.toHaveProperty('parsed')
    const exact = await ask(ready, { structured: { schema: PERSON }, maxTokens: whole.tokens.length })
    expect(exact).toMatchObject({ finishReason: 'stop', parsed: whole.parsed })
  })
})

test('an answer matches even if the template has opened the reasoning', async () => {
  const { engine } = await withMlx()
  const model = await engine.loadModel(await thinking())
  const ask = (structured: Structured) => engine.generate({ model, messages: CHAT, ...HOT, structured })
  expect((await ask({ schema: PERSON })).parsed).toMatchObject({ age: expect.any(Number) })
  expect(await ask({ choices: ['odd', 'even'] })).toMatchObject({ text: expect.stringMatching(/^(odd|even)$/) })
  expect((await ask({ regex: '[a-f]{5}' })).text).toHaveLength(5)
})

/** The demo model with a template that opens the reasoning. */
async function thinking(): Promise<string> {
  const demo = path.join(ROOT, 'models', 'demo')
  const dir = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  const own = 'tokenizer_config.json'
  const files = (await readdir(demo)).filter(name => name !== own)
  await Promise.all(files.map(name => symlink(path.join(demo, name), path.join(dir, name))))
  const config = JSON.parse(await readFile(path.join(demo, own), 'utf8'))
  config.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}{# </think> #}"
  await writeFile(path.join(dir, own), JSON.stringify(config))
  return dir
}

test('constrained and unconstrained answers in a batch are the same as alone', async () => {
  const ready = await withMlx({ scheduler: { deterministic: true } })
  const structured: (Structured | undefined)[] = [
    { schema: PERSON },
    undefined,
    { regex: '[a-f]{10,30}' },
    undefined,
    { choices: ['one', 'two', 'three'] },
    undefined,
    { grammar: 'start: "<" start ">" | /[a-z]{1,4}/' },
    undefined,
  ]
  const all = structured.map((structured, seed) => ({
    ...HOT,
    seed,
    repetitionPenalty: 1.1,
    maxTokens: 60,
    ...(structured && { structured }),
  }))
  const alone: number[][] = []
  for (const params of all) alone.push([...(await ask(ready, params)).tokens])
  const together = await Promise.all(all.map(params => ask(ready, params)))
  expect(together.map(({ tokens }) => [...tokens])).toEqual(alone)
})

test.each([IN_FLOAT32, ...IN_HALF_PRECISION])('a preempted answer continues where it was, with %s', async (...path) => {
  // Numbers in order: an answer that lost its position would start again.
  const numbers = Array.from({ length: 10 }, (_, n) => `${n + 10}`).join(' ')
  const params = { prompt: { tokens: new Array(250).fill(60) }, maxTokens: 60, structured: { choices: [numbers] } }
  const ready = await crowded(path)
  const answers = await Promise.all([1, 2, 3, 4].map(() => ask(ready, params)))
  for (const { text, finishReason } of answers) expect([text, finishReason]).toEqual([numbers, 'stop'])
  expect(ready.engine.stats().models[0].preemptions).toBeGreaterThan(0)
})

test('in float32 a preempted answer is the same to the last bit as alone', async () => {
  const params = {
    prompt: { tokens: new Array(250).fill(60) },
    maxTokens: 40,
    structured: { regex: '[a-z]( [a-z]+)*' },
  }
  const expected = [...(await ask(await withMlx(), params)).tokens]
  const ready = await crowded(IN_FLOAT32)
  const answers = await Promise.all([1, 2, 3, 4].map(() => ask(ready, params)))
  for (const { tokens } of answers) expect([...tokens]).toEqual(expected)
  expect(ready.engine.stats().models[0].preemptions).toBeGreaterThan(0)
})

test.each(IN_OWN_PRECISION)(
  'constrained and unconstrained answers in a batch are correct, with %s',
  async (_, open) => {
    const ready = await open()
    const choices = ['one', 'two', 'three']
    const all: Partial<GenerateParams>[] = Array.from({ length: 4 }, (_, seed) => [
      { seed, structured: { schema: PERSON } },
      { seed, structured: { regex: '[a-f]{10,30}' } },
      { seed, structured: { choices } },
      { prompt: undefined, messages: CHAT, temperature: 0 },
    ]).flat() as never
    const free = await ask(ready, all[3])
    const together = await Promise.all(all.map(params => ask(ready, params)))
    for (let at = 0; at < together.length; at += 4) {
      const [person, letters, choice, chat] = together.slice(at, at + 4)
      expect(person.parsed).toMatchObject({ name: expect.any(String), age: expect.any(Number) })
      expect(letters.text).toMatch(/^[a-f]{10,30}$/)
      expect(choices).toContain(choice.text)
      expect(chat.text).toBe(free.text)
    }
  },
)

describe.each(ON_MLX)('ends, with %s', (_, open) => {
  test('an answer ends when nothing may follow, whatever other stop rules say', async () => {
    const ready = await open()
    const structured = { choices: ['seven'] }
    for (const params of [{}, { ignoreEos: true }, { minTokens: 50 }, { stopTokenIds: [7, 8, 9] }]) {
      const { text, finishReason } = await ask(ready, { structured, ...params })
      expect({ text, finishReason }).toEqual({ text: 'seven', finishReason: 'stop' })
    }
  })

  test('a complete answer may end, and continues if its end tokens are off', async () => {
    const ready = await open()
    const structured = { regex: '[a-z]+' }
    const free = await ask(ready, { structured, logitBias: { 1: 100 } })
    expect([free.finishReason, free.text.length > 0, free.tokens.at(-1)]).toEqual(['stop', true, 1])
    const long = await ask(ready, { structured, logitBias: { 1: 100 }, minTokens: 10 })
    expect([long.finishReason, long.tokens.length]).toEqual(['stop', 11])
    const endless = await ask(ready, { structured, ignoreEos: true, maxTokens: 30 })
    expect([endless.finishReason, /^[a-z]+$/.test(endless.text)]).toEqual(['length', true])
  })

  test('an answer fails if its only possible token is a stop token', async () => {
    const ready = await open()
    const stopTokenIds = Array.from({ length: ready.model.vocabSize }, (_, id) => id)
    const error = await failure(ask(ready, { structured: { choices: ['seven'] }, stopTokenIds }))
    expect(error).toBeInstanceOf(GuidanceError)
    expect(error).toMatchObject({ code: 'GuidanceError', param: 'structured' })
    expect((await ask(ready, { structured: { choices: ['seven'] } })).text).toBe('seven')
  })
})

describe('cached answers', () => {
  test('are shared for the same constraint, with their value', async () => {
    const ready = await sharing()
    const schema = (maxLength: number) => ({
      schema: { ...PERSON, properties: { name: { type: 'string', maxLength } } },
    })
    const required = (maxLength: number) => ({
      structured: { schema: { ...schema(maxLength).schema, required: ['name'] } },
    })
    const first = await ask(ready, required(4))
    const again = await ask(ready, required(4))
    expect([first.served, again.served]).toEqual(['computed', 'cached'])
    expect(again.parsed).toEqual(first.parsed)
    expect((await ask(ready, required(5))).served).toBe('computed')
    expect((await ask(ready, {})).served).toBe('computed')
  })
})

describe('the error about a constraint that cannot be enforced names', () => {
  const deep = (levels: number): object => (levels === 0 ? {} : { items: deep(levels - 1) })
  test.each([
    ['structured', {}],
    ['structured', { regex: 'a', choices: ['a'] }],
    ['structured', 'json'],
    ['structured', ['a']],
    ['structured.schma', { schma: {} }],
    ['structured.schema', { schema: 'object' }],
    ['structured.schema', { schema: { uniqueItems: true } }],
    ['structured.schema', { schema: { type: 'text' } }],
    ['structured.schema.default', { schema: { default: () => 1 } }],
    ['structured.schema', { schema: { properties: { a: { oneOf: [{ type: 'string' }, { minLength: 1 }] } } } }],
    ['structured.regex', { regex: '(' }],
    ['structured.regex', { regex: '(?<!a)b' }],
    ['structured.regex', { regex: '' }],
    ['structured.regex', { regex: 7 }],
    ['structured.grammar', { grammar: 'begin: "a"' }],
    ['structured.grammar', { grammar: 'start: %json { "not": {} }' }],
    ['structured.choices', { choices: [] }],
    ['structured.choices', { choices: [''] }],
    ['structured.choices[1]', { choices: ['a', 1] }],
    ['structured.choices', { choices: 'ab' }],
  ])('%s: %o', async (param, structured) => {
    const error = await failure(ask(await simulated(), { structured: structured as Structured }))
    expect(error).toBeInstanceOf(GuidanceError)
    expect(error).toMatchObject({ code: 'GuidanceError', param })
    expect(error.message).toContain(param)
  })

  test('the path of a keyword, or too many levels', async () => {
    const ready = await simulated()
    const schema = { properties: { list: { items: [{ contains: 1 }] } } }
    const named = await failure(ask(ready, { structured: { schema } }))
    expect(named.message).toContain('`structured.schema.properties.list.items[0].contains`')
    const nested = await failure(ask(ready, { structured: { schema: deep(60) } as Structured }))
    expect(nested).toMatchObject({ code: 'GuidanceError', message: expect.stringContaining('nested too deeply') })
  })

  test('the limit', async () => {
    const error = await failure(ask(await simulated(), { structured: { regex: 'a'.repeat(20_000) } }))
    expect(error).toMatchObject({ code: 'GuidanceError', param: 'structured.regex', limit: 16_384, requested: 20_000 })
  })

  test('stopSequences beside it', async () => {
    const error = await failure(ask(await simulated(), { structured: { regex: 'a+' }, stopSequences: ['x'] }))
    expect(error).toBeInstanceOf(InvalidParamsError)
    expect(error.param).toBe('stopSequences')
  })

  test('a getter runs once, and its error is the cause', async () => {
    const ready = await simulated()
    let calls = 0
    const counted = {
      get choices() {
        calls++
        return ['a']
      },
    }
    expect((await ask(ready, { structured: counted })).text).toBe('a')
    expect(calls).toBe(1)
    const throwing = {
      get schema(): never {
        throw new Error('mine')
      },
    }
    const error = await failure(ask(ready, { structured: throwing }))
    expect(error).toMatchObject({ code: 'InvalidParams', param: 'structured', cause: { message: 'mine' } })
  })
})

test('the value has the type parameter of the call', async () => {
  const { engine, model } = await simulated()
  const structured = { schema: PERSON }
  const result: GenerateResult<{ name: string }> = await engine.generate<{ name: string }>({
    model,
    prompt: PROMPT,
    structured,
  })
  expect(typeof result.parsed?.name).toBe('string')
})

test('error messages have no backtraces, whatever the environment sets', async () => {
  const program = `
    const { createEngine } = require(${JSON.stringify(ROOT)})
    const broken = [{ grammar: 'start: <unknown>' }, { regex: '(' }, { grammar: 'start: missing' }, { schema: { type: 'string', pattern: '(' } }]
    const run = async () => {
      const engine = await createEngine()
      const model = await engine.loadModel()
      for (const structured of broken) {
        await engine.generate({ model, prompt: 'x', structured }).catch(error => console.log(error.message))
      }
      await engine.shutdown()
    }
    run()`
  const env = { ...process.env, RUST_BACKTRACE: '1' }
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], { env })
  expect(stdout).toContain('unclosed group')
  expect(stdout).toContain('missing')
  expect(stdout).not.toMatch(/backtrace|\.rs\b|core::/)
})
