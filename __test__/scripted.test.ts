// Scripted answers of a simulated device: code that acts on answers can be tested with answers that the test chooses. The rest
// of the path is the real one: tokens, steps, streams, parsers, sharing.

import {
  BackendError,
  ConfigError,
  type EngineOptions,
  type GenerateParams,
  type GenerateResult,
  type Message,
  type ScriptedAnswer,
  type ScriptedAnswers,
  type Tool,
} from 'mlx-serving'
import { expect, test } from 'vitest'
import { chattingAs, HERMES } from './scripted.js'
import { failure, INSTANT, M3_MAX, type Ready, read, readCounter, sharing, simulated } from './support.js'

const ADD: Tool = { type: 'function', function: { name: 'add', parameters: { type: 'object' } } }
const QUESTION: Message = { role: 'user', content: 'What is the capital of France?' }
const said = (content: string): Message[] => [{ role: 'user', content }]

/** An engine with scripted answers that shares no answers. */
const scripted = (answers: ScriptedAnswers, options: EngineOptions = {}): Promise<Ready> =>
  simulated(INSTANT, { backend: { simulated: INSTANT, answers }, ...options })

/** The texts that an engine answers to these prompts, one after another. */
async function answersTo({ engine, model }: Ready, ...prompts: string[]): Promise<string[]> {
  const texts = []
  for (const prompt of prompts) texts.push((await engine.generate({ model, prompt })).text)
  return texts
}

test('an agent runs its whole loop: a call, its result, an answer', async () => {
  const { engine, model } = await chattingAs(HERMES, [
    { match: 'capital', toolCalls: [{ name: 'add', arguments: { a: 1, b: 'two' } }] },
    { match: /^3$/, text: 'It is 3.' },
  ])
  const messages = [QUESTION]
  const ask = () => engine.generate({ model, messages, tools: [ADD] })
  const first = await ask()
  expect(first).toMatchObject({ text: '', finishReason: 'tool-calls' })
  expect(first.usage.outputTokens).toBe(first.tokens.length)
  const [call] = first.toolCalls ?? []
  expect(call.function).toEqual({ name: 'add', arguments: { a: 1, b: 'two' } })
  messages.push({ role: 'assistant', content: first.text, toolCalls: first.toolCalls })
  messages.push({ role: 'tool', content: '3', toolCallId: call.id })
  expect(await ask()).toMatchObject({ text: 'It is 3.', finishReason: 'stop' })
  expect(engine.stats().unusedAnswers).toEqual([])
})

test('tokens are those of the model, and the chunks together are the answer', async () => {
  const text = 'Paris, of course: größe 日本 🙂 <|end|> and on.'
  // Three parts of the first answer arrive 400 ms apart, so that they are not joined into one chunk.
  const faults = [3, 6].map(step => ({ step, kind: 'stall' as const, ms: 400 }))
  const answers = [{ text, times: 2 }]
  const { engine, model } = await scripted(answers, { backend: { simulated: M3_MAX, answers, faults } })
  const generation = engine.generate({ model, messages: [QUESTION] })
  const { tokens, text: streamed, chunks } = await read(generation)
  const result = await generation
  expect([streamed, result.text, [...result.tokens]]).toEqual([text, text, tokens])
  expect(chunks).toBeGreaterThan(2)
  expect(await engine.detokenize({ model, tokens })).toBe(text)
  // The prompt takes the time of the profile, and so does each token.
  expect(result.timings.ttftMs).toBeGreaterThan(80)
  expect(result.timings.decodeMs).toBeGreaterThan(2 * 400 + 4 * tokens.length)
  const items = []
  for await (const item of engine.createGenerator({ model, messages: [QUESTION] })) items.push(item)
  expect(items.map(item => (item.type === 'token' ? item.token : '')).join('')).toBe(text)
})

test('a request gets the first answer of the list that fits it and is not used up', async () => {
  const ready = await scripted([
    { match: 'red', text: 'Once red.', times: 1 },
    { match: /RED/gi, text: 'Red.' },
    { text: 'First.' },
    { match: ({ text, params }) => text === 'Blue?' && params.maxTokens === undefined, text: 'Blue.' },
    { text: 'Second.' },
  ])
  const texts = await answersTo(ready, 'Blue?', 'red!', 'Red?', 'red?', 'Green?', 'Blue?')
  expect(texts).toEqual(['First.', 'Once red.', 'Red.', 'Red.', 'Second.', 'Blue.'])
})

test('a condition looks at the last message, whatever parts it has', async () => {
  const { engine, model } = await scripted([{ match: 'capital of', text: 'Paris.' }])
  const parts = [
    { type: 'text' as const, text: 'the capi' },
    { type: 'text' as const, text: 'tal of France' },
  ]
  const ask = (...messages: Message[]) => engine.generate({ model, messages })
  expect((await ask({ role: 'user', content: parts })).text).toBe('Paris.')
  const { code } = await failure(ask(QUESTION, { role: 'assistant', content: 'Paris' }, ...said('And Spain?')))
  expect(code).toBe('ConfigError')
})

test('a function answers from the request', async () => {
  const { engine, model } = await scripted(({ text, messages, params }) => {
    if (text === 'throw') throw new RangeError('of the test')
    if (text === 'none') return undefined
    return { text: `${text} ${messages.length} ${params.maxTokens ?? '-'}` }
  })
  const ask = (content: string, more = {}) =>
    engine.generate({ model, messages: [QUESTION, ...said(content)], ...more })
  expect((await ask('one')).text).toBe('one 2 -')
  expect((await ask('two', { maxTokens: 50 })).text).toBe('two 2 50')
  expect((await engine.generate({ model, prompt: 'three' })).text).toBe('three 0 -')
  expect(await failure(ask('throw'))).toBeInstanceOf(RangeError)
  const none = await failure(ask('none'))
  expect(none).toMatchObject({ code: 'ConfigError', param: 'backend.answers' })
  expect(none.message).toContain('none is given')
  expect(engine.stats()).not.toHaveProperty('unusedAnswers')
})

test('a function cannot be waited for, and what it returns is checked', async () => {
  const wrong: [() => unknown, string][] = [
    [async () => ({ text: 'a' }), 'backend.answers'],
    [() => Promise.reject(new Error('unheard')), 'backend.answers'],
    [() => 'a', 'backend.answers()'],
    [() => ({}), 'backend.answers()'],
    [() => ({ text: 1 }), 'backend.answers().text'],
    [() => ({ text: 'a', times: 2 }), 'backend.answers().times'],
    [() => ({ toolCalls: [{ name: 'f', arguments: 'x' }] }), 'backend.answers().toolCalls[0].arguments'],
  ]
  for (const [answer, param] of wrong) {
    const { engine, model } = await scripted(answer as never)
    expect(await failure(engine.generate({ model, prompt: 'a' }))).toMatchObject({ code: 'ConfigError', param })
  }
  const { engine, model } = await scripted([{ match: (async () => false) as never, text: 'a' }])
  const error = await failure(engine.generate({ model, prompt: 'a' }))
  expect(error).toMatchObject({ code: 'ConfigError', param: 'backend.answers[0].match' })
})

test('a request that no answer fits fails, or gets the usual text', async () => {
  const answers: ScriptedAnswer[] = [{ match: 'red', text: 'Red.' }, { text: 'Any.' }]
  const { engine, model } = await scripted(answers)
  const ask = (content: string) => engine.generate({ model, messages: said(content) })
  await ask('blue')
  const error = await failure(ask('And now for green?'))
  expect(error).toBeInstanceOf(ConfigError)
  expect(error.param).toBe('backend.answers')
  expect(error.message).toMatch(
    /prompt ends with ".*And now for green\?.*": those of the 2 answers that fit it are used up/,
  )
  expect(engine.stats().unusedAnswers).toEqual([0])
  const other = await scripted([], { backend: { simulated: INSTANT, answers, onUnmatched: 'simulate' } })
  const usual = await simulated()
  const [, second] = await answersTo(other, 'blue', 'green')
  expect([second]).toEqual(await answersTo(usual, 'green'))
})

test('a scripted answer can have reasoning, and can end with the finish reason length', async () => {
  const { engine, model } = await chattingAs(HERMES, [
    { reasoning: '1 + 2', text: '3', finishReason: 'length' },
    { reasoning: 'Hm.', toolCalls: [{ name: 'add' }] },
  ])
  const ask = () => engine.generate({ model, messages: [QUESTION], tools: [ADD] })
  expect(await ask()).toMatchObject({ reasoning: '1 + 2', text: '3', finishReason: 'length' })
  const { reasoning, toolCalls = [] } = await ask()
  expect([reasoning, toolCalls[0].function]).toEqual(['Hm.', { name: 'add', arguments: {} }])
})

test('after errorAfterTokens the stream ends with an error, and the engine continues', async () => {
  const { engine, model } = await scripted([
    { text: 'Half an answer', errorAfterTokens: 2 },
    { errorAfterTokens: 0 },
    { text: 'Whole.' },
  ])
  const generation = engine.generate({ model, prompt: 'Go on' })
  let text = ''
  const loop = async () => {
    for await (const chunk of generation) text += chunk.text
  }
  expect(await failure(loop())).toBeInstanceOf(BackendError)
  expect('Half an answer'.startsWith(text) && text !== '').toBe(true)
  expect(await failure(generation)).toMatchObject({ code: 'BackendError' })
  expect(await failure(engine.generate({ model, prompt: 'Go on' }))).toBeInstanceOf(BackendError)
  expect(await answersTo({ engine, model }, 'Go on')).toEqual(['Whole.'])
  expect(engine.stats()).toMatchObject({ failed: 2, completed: 1, recoveries: 0 })
})

test('identical requests share an answer, which is used once', async () => {
  const answers = [{ text: 'One.' }, { text: 'Two.' }]
  // Both requests arrive during the first step.
  const faults = [{ step: 0, kind: 'stall' as const, ms: 500 }]
  const { engine, model } = await sharing(INSTANT, { backend: { simulated: INSTANT, answers, faults } })
  const ask = (prompt: string) => engine.generate({ model, prompt })
  const together = await Promise.all([ask('a'), ask('a')])
  const later = [await ask('a'), await ask('b')]
  const shown = [...together, ...later].map(({ text, served }: GenerateResult) => [text, served])
  expect(shown).toEqual([
    ['One.', 'computed'],
    ['One.', 'coalesced'],
    ['One.', 'cached'],
    ['Two.', 'computed'],
  ])
})

test('several answers to one request are taken one after another', async () => {
  const { engine, model } = await scripted([{ text: 'One.' }, { text: 'Two.' }, { text: 'Three.' }])
  const { choices = [] } = await engine.generate({ model, prompt: 'a', n: 3, temperature: 1 })
  expect(choices.map(({ text }) => text)).toEqual(['One.', 'Two.', 'Three.'])
  const all = await scripted(({ text }) => ({ text: `${text}!` }))
  const same = await all.engine.generate({ model: all.model, prompt: 'a', n: 2, temperature: 1 })
  expect(same.choices?.map(({ text }) => text)).toEqual(['a!', 'a!'])
})

test('params of the request act on a scripted answer as on any other', async () => {
  const { engine, model } = await scripted([{ text: 'One two three.', times: 9 }])
  const ask = (more: Partial<GenerateParams>) => engine.generate({ model, prompt: 'a', ...more } as GenerateParams)
  const whole = await ask({ logprobs: 1 })
  expect(whole.logprobs?.map(({ tokenId }) => tokenId)).toEqual([...whole.tokens])
  expect(await ask({ maxTokens: 2 })).toMatchObject({ tokens: whole.tokens.slice(0, 2), finishReason: 'length' })
  expect(await ask({ stopSequences: ['two'] })).toMatchObject({ text: 'One ', finishReason: 'stop' })
  const again = await ask({ ignoreEos: true, maxTokens: 2 * (whole.tokens.length - 1) })
  expect(again.text).toBe('One two three.One two three.')
})

test('an answer to a request with `structured` or `toolChoice` keeps to it, or is an error that names the place', async () => {
  const schema = { type: 'object', properties: { sum: { type: 'integer' } }, required: ['sum'] }
  const { engine, model } = await chattingAs(HERMES, [
    { text: '{"sum": 19}' },
    { text: '{"sum": "19"}' },
    { toolCalls: [{ name: 'add', arguments: { a: 1 } }] },
    { text: 'I will not.' },
  ])
  const ask = (more: object) => engine.generate({ model, messages: [QUESTION], ...more })
  expect((await ask({ structured: { schema } })).parsed).toEqual({ sum: 19 })
  const error = await failure(ask({ structured: { schema } }))
  expect(error).toMatchObject({ code: 'ConfigError', param: 'backend.answers[1].text' })
  expect(error.message).toMatch(/breaks `structured` of the request at token \d+, after "{\\"sum\\":/)
  const must = { tools: [ADD], toolChoice: 'required' }
  expect((await ask(must)).toolCalls?.[0].function.arguments).toEqual({ a: 1 })
  const refused = await failure(ask(must))
  expect(refused).toMatchObject({ code: 'ConfigError', param: 'backend.answers[3].text' })
  expect(refused.message).toContain('`toolChoice`')
})

test('what this model cannot write is an error that names the part', async () => {
  const call = { toolCalls: [{ name: 'add' }] }
  const { engine, model } = await chattingAs('{{ messages[0].content }} {{ tools }}', [{ reasoning: 'Hm.' }, call])
  const ask = (more = {}) => failure(engine.generate({ model, messages: [QUESTION], ...more }))
  expect(await ask()).toMatchObject({ code: 'ConfigError', param: 'backend.answers[0].reasoning' })
  expect(await ask({ tools: [ADD] })).toMatchObject({ code: 'ConfigError', param: 'backend.answers[1].toolCalls' })
  const hermes = await chattingAs(HERMES, [call, { text: 'a', errorAfterTokens: 99 }])
  const tools = [{ type: 'function', function: { name: 'sub' } }]
  const other = await failure(hermes.engine.generate({ model: hermes.model, messages: [QUESTION], tools } as never))
  expect(other).toMatchObject({ code: 'ConfigError', param: 'backend.answers[0].toolCalls[0].name' })
  const long = await failure(hermes.engine.generate({ model: hermes.model, messages: [QUESTION] }))
  expect(long).toMatchObject({ param: 'backend.answers[1].errorAfterTokens', requested: 99 })
})

test('a scripted answer stays the same when the device lost its memory and computes it again', async () => {
  const texts = ['One two three four five six.', 'Seven eight nine ten eleven.']
  const answers = texts.map(text => ({ text }))
  // Both requests arrive during the first step: a request that ran alone would fail.
  const faults = [
    { step: 0, kind: 'stall' as const, ms: 500 },
    { step: 4, kind: 'memory' as const },
  ]
  const { engine, model } = await simulated(M3_MAX, { backend: { simulated: M3_MAX, answers, faults } })
  const results = await Promise.all(['a', 'b'].map(prompt => engine.generate({ model, prompt })))
  expect(results.map(({ text }) => text)).toEqual(texts)
  expect(engine.stats().recoveries).toBeGreaterThan(0)
})

test.each<[string, unknown, string]>([
  ['answers that are a text', 'Paris.', 'backend.answers'],
  ['an answer that is a text', ['Paris.'], 'backend.answers[0]'],
  ['an answer that is absent', [{ text: 'a' }, undefined], 'backend.answers[1]'],
  ['an answer without anything', [{ text: 'a' }, {}], 'backend.answers[1]'],
  ['a text that is a number', [{ text: 'a' }, { text: 'b' }, { text: 1 }], 'backend.answers[2].text'],
  ['a misspelt key', [{ txt: 'a' }], 'backend.answers[0].txt'],
  ['a condition that is a number', [{ match: 1, text: 'a' }], 'backend.answers[0].match'],
  ['a condition that is an empty text', [{ match: '', text: 'a' }], 'backend.answers[0].match'],
  ['no times', [{ text: 'a', times: 0 }], 'backend.answers[0].times'],
  ['times that are a fraction', [{ text: 'a', times: 1.5 }], 'backend.answers[0].times'],
  ['another finish reason', [{ text: 'a', finishReason: 'tool-calls' }], 'backend.answers[0].finishReason'],
  ['an empty answer that is cut', [{ text: '', finishReason: 'length' }], 'backend.answers[0].text'],
  ['an error after less than nothing', [{ text: 'a', errorAfterTokens: -1 }], 'backend.answers[0].errorAfterTokens'],
  ['two ends', [{ text: 'a', finishReason: 'stop', errorAfterTokens: 1 }], 'backend.answers[0].finishReason'],
  ['calls that are not a list', [{ toolCalls: { name: 'f' } }], 'backend.answers[0].toolCalls'],
  ['a call without a name', [{ toolCalls: [{ arguments: {} }] }], 'backend.answers[0].toolCalls[0].name'],
  ['arguments as text', [{ toolCalls: [{ name: 'f', arguments: '{}' }] }], 'backend.answers[0].toolCalls[0].arguments'],
])('%s: the error names the place', async (_, answers, param) => {
  const error = await failure(scripted(answers as never))
  expect(error).toBeInstanceOf(ConfigError)
  expect(error.param).toBe(param)
})

test('wrong options beside the answers are refused', async () => {
  const create = (backend: object, more: object = {}) =>
    failure(simulated(INSTANT, { backend: { simulated: INSTANT, ...backend }, ...more } as EngineOptions))
  const wrong = { code: 'ConfigError', param: 'backend.onUnmatched' }
  expect(await create({ answers: [], onUnmatched: 'pass' })).toMatchObject(wrong)
  expect(await create({ onUnmatched: 'fail' })).toMatchObject(wrong)
  const kept = await create({ answers: [] }, { cache: { promptCache: { path: 'answers' } } })
  expect(kept).toMatchObject({ code: 'ConfigError', param: 'cache.promptCache.path' })
})

test('each property of the options is read once', async () => {
  const { reads, counting } = readCounter()
  const answers = [{ match: /a/, text: 'b', finishReason: 'stop' as const }]
  await scripted([], counting({ backend: { simulated: INSTANT, answers } }))
  const counted = reads.filter(key => !['length', '0', 'constructor'].includes(key) && !key.startsWith('Symbol'))
  expect(counted.sort()).toEqual(['answers', 'backend', 'finishReason', 'match', 'simulated', 'text'])
})
