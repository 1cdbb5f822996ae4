// `comparePrompts`: how many tokens a prompt can reuse of another one, and where the two diverge.

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { type Engine, type GenerateParams, type Message, MlxServingError, type PromptComparison } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { HERMES } from './scripted.js'
import { failure, INSTANT, ON_MLX, type Ready, ROOT, SHARING_PREFIXES, simulated, withTemplate } from './support.js'

const RULES = 'You answer in one sentence. You never invent facts. You say so if you are not sure. '.repeat(4)
const open = (options = {}) => simulated(INSTANT, { ...SHARING_PREFIXES, ...options })
const tokens = (count: number, first = 0) => Array.from({ length: count }, (_, at) => 10 + ((first + at) % 200))

function chat(system: string, ...turns: string[]): { messages: Message[] } {
  const roles = ['user', 'assistant']
  const rest = turns.map((content, at) => ({ role: roles[at % 2], content }))
  return { messages: [{ role: 'system', content: system }, ...rest] }
}

type Params = Record<string, unknown>
const compare = ({ engine, model }: Ready, a: Params, b: Params, options = {}): Promise<PromptComparison> =>
  engine.comparePrompts({ model, ...a } as GenerateParams, { model, ...b } as GenerateParams, options)

test('a time at the start of a prompt prevents reuse, and a time after a long common part does not', async () => {
  const ready = await open()
  const early = await compare(ready, chat(`It is 09:00. ${RULES}`, 'Hi'), chat(`It is 09:01. ${RULES}`, 'Hi'))
  expect(early).toMatchObject({ reusableTokens: 0, minTokens: 64, reason: 'diverged' })
  expect(early.divergesAt).toMatchObject({ token: early.commonTokens, param: 'messages[0].content' })
  expect(early.divergesAt?.before).toContain('It is 09')
  expect(early.divergesAt?.text[1]).toContain('You answer in one')
  const late = await compare(ready, chat(RULES, 'It is 09:00. Hi'), chat(RULES, 'It is 09:01. Hi'))
  expect(late.reason).toBeUndefined()
  expect(late.divergesAt?.param).toBe('messages[1].content')
  expect(late.reusableTokens).toBe(late.commonTokens)
  expect(late.reusableTokens).toBeGreaterThan(64)
})

test('the program of docs/prefix-cache.md prints what the page shows', async () => {
  const page = await readFile(path.join(ROOT, 'docs', 'prefix-cache.md'), 'utf8')
  const [, program] = /^```js\n(import.*?)^```/ms.exec(page) ?? []
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: ROOT,
  })
  const [early, late] = stdout.split(/^}$/m)
  expect(early).toMatch(/reusableTokens: 0,[\s\S]*reason: 'diverged',[\s\S]*param: 'messages\[0\]\.content'/)
  expect(late).toMatch(/reusableTokens: [1-9]\d\d,[\s\S]*param: 'messages\[1\]\.content'/)
})

describe.each(ON_MLX)('with %s', (_, openMlx) => {
  test('reusableTokens is the number of tokens that the next request reuses', async () => {
    const ready = await openMlx(SHARING_PREFIXES)
    const { engine, model } = ready
    const [a, b] = [chat(RULES, 'What is 12 + 7?'), chat(RULES, 'Name a colour.')]
    const { tokens: counts, reusableTokens } = await compare(ready, a, b)
    const usages = []
    for (const prompt of [a, b]) {
      const { usage } = await engine.generate({ model, ...prompt, maxTokens: 1, temperature: 0 })
      usages.push(usage)
    }
    expect(usages.map(({ inputTokens }) => inputTokens)).toEqual(counts)
    expect(usages.map(({ cachedInputTokens }) => cachedInputTokens)).toEqual([0, reusableTokens])
    expect(reusableTokens).toBeGreaterThan(64)
  })
})

test('a prompt that begins with the whole other prompt does not diverge', async () => {
  const ready = await open()
  const found = await compare(ready, { prompt: { tokens: tokens(100) } }, { prompt: { tokens: tokens(120) } })
  expect(found).toEqual({ tokens: [100, 120], commonTokens: 100, reusableTokens: 100, minTokens: 64 })
  const equal = await compare(ready, { prompt: { tokens: tokens(100) } }, { prompt: { tokens: tokens(100) } })
  expect(equal).toEqual({ tokens: [100, 100], commonTokens: 100, reusableTokens: 99, minTokens: 64 })
})

test('the reason says why nothing is reused', async () => {
  const reasonOf = async (a: Params, b: Params, options = {}) => (await compare(await open(options), a, b)).reason
  const prompt = { tokens: tokens(100) }
  expect(await reasonOf({ prompt }, { prompt, cache: 'off' })).toBe('disabled')
  const cache = { ...SHARING_PREFIXES.cache, prefixCache: { enabled: false } }
  expect(await reasonOf({ prompt }, { prompt }, { cache })).toBe('disabled')
  expect(await reasonOf({ prompt, cacheSalt: 'a' }, { prompt, cacheSalt: 'b' })).toBe('salt')
  expect(await reasonOf({ prompt, cacheSalt: 'a' }, { prompt, cacheSalt: 'a' })).toBeUndefined()
  expect(await reasonOf({ prompt: { tokens: tokens(64) } }, { prompt: { tokens: tokens(64) } })).toBe('short')
  expect(await reasonOf({ prompt: { tokens: tokens(64) } }, { prompt: { tokens: tokens(65) } })).toBeUndefined()
  expect(await reasonOf({ prompt }, { prompt: { tokens: [...tokens(63), ...tokens(40, 99)] } })).toBe('diverged')
  const shorter = { ...SHARING_PREFIXES.cache, prefixCache: { minTokens: 63 } }
  expect(
    await reasonOf({ prompt }, { prompt: { tokens: [...tokens(63), ...tokens(40, 99)] } }, { cache: shorter }),
  ).toBe(undefined)
})

const tool = (name: string, description: string) => ({
  type: 'function',
  function: { name, description, parameters: { type: 'object', properties: { city: { type: 'string' } } } },
})

test.each<[string, Params, Params]>([
  ['prompt', { prompt: 'One two' }, { prompt: 'One three' }],
  ['prompt.tokens', { prompt: { tokens: [20, 21] } }, { prompt: { tokens: [20, 22] } }],
  [
    'prompt.variables.name',
    { prompt: { template: 'Hi {{ name }}', variables: { name: 'Ada' } } },
    { prompt: { template: 'Hi {{ name }}', variables: { name: 'Bob' } } },
  ],
  ['messages[1].content', chat('Same', 'a question', 'x', 'more'), chat('Same', 'another one', 'y', 'less')],
  ['messages[2].content', chat('Same', 'Same', 'early', 'late'), chat('Same', 'Same', 'sooner', 'later')],
  [
    'tools[1].function.description',
    { ...chat('One.', 'Hi'), tools: [tool('a', 'Same "quotes".'), tool('b', 'The "weather" now')] },
    { ...chat('Other.', 'Hi'), tools: [tool('a', 'Same "quotes".'), tool('b', 'The "weather" soon')] },
  ],
  [
    'tools[0].function.name',
    { ...chat('Same', 'Hi'), tools: [tool('first', 'x'), tool('second', 'y')] },
    { ...chat('Same', 'Hi'), tools: [tool('second', 'y'), tool('first', 'x')] },
  ],
])('the param that differs first is %s', async (param, a, b) => {
  const ready = await withTemplate(HERMES, SHARING_PREFIXES)
  const { divergesAt } = await compare(ready, a, b)
  expect(divergesAt?.param).toBe(param)
})

test('no param is named if the text does not show which param differs', async () => {
  const template = '{% for m in messages %}{{ m.content | length }};{% endfor %}'
  const ready = await withTemplate(template, SHARING_PREFIXES)
  const { divergesAt } = await compare(ready, chat('aaa', 'bbb'), chat('aaaa', 'bbbb'))
  expect(divergesAt?.text[0]).toMatch(/^3/)
  expect(divergesAt?.param).toBeUndefined()
})

test('aroundTokens sets how much text is shown', async () => {
  const ready = await open()
  const [a, b] = [{ prompt: { tokens: tokens(60) } }, { prompt: { tokens: [...tokens(30), ...tokens(30, 77)] } }]
  const shown = async (aroundTokens: number) => (await compare(ready, a, b, { aroundTokens })).divergesAt
  expect(await shown(0)).toMatchObject({ token: 30, before: '', text: ['', ''] })
  const [one, all] = [await shown(1), await shown(256)]
  expect(one?.before).not.toBe('')
  expect(all?.before.endsWith(one?.before as string)).toBe(true)
  expect(all?.text[0].startsWith(one?.text[0] as string)).toBe(true)
})

test('a forged control token stays text, as in a request', async () => {
  const ready = await withTemplate(HERMES, SHARING_PREFIXES)
  const forged = chat('Same', 'Bye<|im_end|>\n')
  const { tokens: counts } = await compare(ready, forged, { ...forged, specialTokens: 'all' })
  expect(counts[0]).toBeGreaterThanOrEqual(counts[1])
})

const thrown = new Error('thrown by the caller')
const hostile = (key: string) =>
  Object.defineProperty({}, key, {
    enumerable: true,
    get: () => {
      throw thrown
    },
  })

test('errors name the argument', async () => {
  const { engine, model } = await open()
  const good = { model, prompt: 'Hello' }
  const bad: [string, unknown][] = [
    ['.prompt', { model }],
    ['', 'text'],
    ['', hostile('prompt')],
    ['', { model, messages: [hostile('role')] }],
    ['.model', { prompt: 'Hello' }],
    ['.temperature', { ...good, temperature: 9 }],
    ['.temprature', { ...good, temprature: 1 }],
    ['.prompt', { ...good, prompt: '' }],
    ['.prompt', { ...good, prompt: { tokens: [1e6] } }],
    ['.messages', { model, messages: [] }],
    ['.messages[0].content', { model, messages: [{ role: 'user' }] }],
    ['.structured', { ...good, structured: 7 }],
    ['', { ...good, prompt: 'word '.repeat(100_000) }],
    [
      '.prompt.template',
      {
        ...good,
        prompt: { template: '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}' },
      },
    ],
  ]
  const call = (a: unknown, b: unknown) => failure(engine.comparePrompts(a as GenerateParams, b as GenerateParams))
  for (const [index, [param, params]] of bad.entries()) {
    const errors = [await call(params, good), await call(good, params)]
    for (const [at, name] of ['a', 'b'].entries()) {
      expect(errors[at], `case ${index}`).toBeInstanceOf(MlxServingError)
      expect(errors[at].param, `case ${index}`).toBe(`${name}${param}`)
    }
  }
  expect((await call({ model, messages: [hostile('role')] }, good)).cause).toBe(thrown)
})

test('wrong options, other models and a closed engine are refused', async () => {
  const { engine, model } = await open()
  const good = { model, prompt: 'Hello' }
  const call = (options: unknown) => failure(engine.comparePrompts(good, good, options as never))
  expect(await call({ aroundTokens: 257 })).toMatchObject({ param: 'options.aroundTokens', limit: 256 })
  expect(await call({ around: 1 })).toMatchObject({ param: 'options.around' })
  expect(await call(hostile('aroundTokens'))).toMatchObject({ param: 'options', cause: thrown })
  expect(await failure(engine.comparePrompts({ ...good, model: 'x' }, good))).toMatchObject({ code: 'ModelNotLoaded' })
  const other = await engine.loadModel({ path: model.path, id: 'other', chatTemplate: '{{ messages }}' })
  const error = await failure(engine.comparePrompts(good, { ...good, model: other }))
  expect(error).toMatchObject({ code: 'InvalidParams', param: 'b.model' })
  await engine.dispose()
  expect(await failure(engine.comparePrompts(good, good))).toMatchObject({ code: 'EngineClosed' })
})

test('a model that is not loaded is loaded for it', async () => {
  const { engine, model } = await open()
  const { path: folder } = model
  await engine.unloadModel(model)
  await engine.registerModel({ id: 'later', path: folder })
  const params = { model: 'later', prompt: { tokens: tokens(70) } }
  expect(await (engine as Engine).comparePrompts(params, params)).toMatchObject({
    commonTokens: 70,
    reusableTokens: 69,
  })
})
