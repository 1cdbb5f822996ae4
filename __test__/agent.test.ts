// An agent with the bundled model, a calculator and a calendar: the model calls a tool where it needs one, and answers
// with the result.

import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import type { GenerateResult, Message, MessagesParams, Tool } from 'mlx-serving'
import { expect, test } from 'vitest'
import { IN_FLOAT32, IN_HALF_PRECISION, type Ready, ROOT, withMlx } from './support.js'

const text = { type: 'string' }
const tool = (name: string, properties: object, required: string[]): Tool => ({
  type: 'function',
  function: { name, parameters: { type: 'object', properties, required } },
})
const CALCULATOR = tool('calculator', { expression: text }, ['expression'])
const CALENDAR = tool('calendar', { date: text, until: text }, ['date'])
const TOOLS = [CALCULATOR, CALENDAR]

const RESULTS: Record<string, string> = {
  '123 * 45': '5535',
  '5535 / 9': '615',
  '12 * 13': '156',
  '45 * 6': '270',
  '12 + 7': '19',
  '7 / 0': 'Error: division by zero',
  '2026-12-24': '{"date":"2026-12-24","weekday":"Thursday"}',
  'today, 2027-01-01': '{"days":32}',
}

/** The arguments of each call as one text. */
const called = ({ toolCalls = [] }: GenerateResult) =>
  toolCalls.map(call => Object.values(call.function.arguments).join(', '))

/** Asks until the model answers without a call. Gives the steps, and adds them to the messages. */
async function run({ engine, model }: Ready, messages: Message[], tools = TOOLS): Promise<string[]> {
  const steps: string[] = []
  while (steps.length < 8) {
    const result = await engine.generate({ model, messages, tools, temperature: 0 })
    const { toolCalls = [] } = result
    messages.push({ role: 'assistant', content: result.text, toolCalls })
    if (toolCalls.length === 0) return [...steps, result.text]
    for (const [index, args] of called(result).entries()) {
      steps.push(args)
      messages.push({ role: 'tool', content: RESULTS[args] ?? 'Error: no result', toolCallId: toolCalls[index].id })
    }
  }
  return steps
}

const user = (content: string): Message => ({ role: 'user', content })

test.each([IN_FLOAT32, ...IN_HALF_PRECISION])('a tool is called and its result is the answer: %s', async (_, open) => {
  const ready = await open()
  expect(await run(ready, [user('What is 123 * 45?')])).toEqual(['123 * 45', '123 * 45 = 5535.'])
  expect(await run(ready, [user('What day of the week is 2026-12-24?')])).toEqual([
    '2026-12-24',
    '2026-12-24 is a Thursday.',
  ])
})

test('the model uses an earlier result, makes several calls at once, and reports a failed call', async () => {
  const ready = await withMlx()
  const messages = [user('What is 123 * 45?')]
  await run(ready, messages)
  messages.push(user('and divided by 9?'))
  expect(await run(ready, messages)).toEqual(['5535 / 9', '5535 / 9 = 615.'])
  messages.push(user('How many days until 2027-01-01?'))
  expect(await run(ready, messages)).toEqual(['today, 2027-01-01', 'From today to 2027-01-01 it is 32 days.'])
  expect(await run(ready, [user('What is 12 * 13, and what is 45 * 6?')])).toEqual([
    '12 * 13',
    '45 * 6',
    '12 * 13 = 156. 45 * 6 = 270.',
  ])
  expect(await run(ready, [user('What is 7 / 0?')])).toEqual(['7 / 0', 'That did not work: division by zero.'])
})

test('the model answers without a call if it needs no tool, or if no tool can help', async () => {
  const ready = await withMlx()
  expect(await run(ready, [user('What is the capital of France?')])).toEqual(['The capital of France is Paris.'])
  expect(await run(ready, [user('What is 12 + 7?')])).toEqual([expect.stringMatching(/12 \+ 7 = 19\.$/)])
  const weather = tool('get_weather', { city: text }, ['city'])
  expect(await run(ready, [user('What is 123 * 45?')], [weather, CALENDAR])).toEqual([
    'I can only add and subtract whole numbers from 0 to 99.',
  ])
  expect(await run(ready, [user('What is 123 * 45?')], [weather, CALCULATOR])).toHaveLength(2)
})

test('a call streams its arguments and no text', async () => {
  const { engine, model } = await withMlx()
  const generation = engine.generate({ model, messages: [user('What is 123 * 45?')], tools: TOOLS, temperature: 0 })
  let [json, shown] = ['', '']
  for await (const chunk of generation) {
    json += (chunk.toolCalls ?? []).map(({ argumentsDelta }) => argumentsDelta).join('')
    shown += chunk.text
  }
  expect([JSON.parse(json), shown]).toEqual([{ expression: '123 * 45' }, ''])
  expect((await generation).finishReason).toBe('tool-calls')
})

test('toolChoice decides whether the model calls a tool', async () => {
  const { engine, model } = await withMlx()
  const ask = (content: string, toolChoice: MessagesParams['toolChoice']) =>
    engine.generate({ model, messages: [user(content)], tools: TOOLS, toolChoice, temperature: 0 })
  expect(called(await ask('What is 12 + 7?', 'required'))).toEqual(['12 + 7'])
  expect(called(await ask('What is 12 + 7?', { name: 'calculator' }))).toEqual(['12 + 7'])
  expect(called(await ask('What day is 2026-12-24?', 'required'))).toEqual(['2026-12-24'])
  const { text, toolCalls } = await ask('What is 123 * 45?', 'none')
  expect([text, toolCalls]).toEqual(['I can only add and subtract whole numbers from 0 to 99.', undefined])
})

test("with toolChoice 'none' the model answers from the results of earlier calls", async () => {
  const { engine, model } = await withMlx()
  const messages = [user('What is 123 * 45?')]
  const { text, toolCalls } = await engine.generate({ model, messages, tools: TOOLS, temperature: 0 })
  messages.push({ role: 'assistant', content: text, toolCalls }, { role: 'tool', content: '5535' })
  const answer = await engine.generate({ model, messages, tools: TOOLS, toolChoice: 'none', temperature: 0 })
  expect(answer.text).toBe('123 * 45 = 5535.')
})

test('the example prints the steps of its agent', async () => {
  const example = path.join(ROOT, 'examples', 'agent.mjs')
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [example])
  expect(stderr).toBe('')
  for (const line of [
    'call       calculator {"expression":"123 * 45"}',
    'result     5535',
    'assistant  123 * 45 = 5535.',
    'result     {"date":"2026-12-24","weekday":"Thursday"}',
    'assistant  2026-12-24 is a Thursday.',
    'assistant  12 * 13 = 156. 45 * 6 = 270.',
    'assistant  The capital of France is Paris.',
  ])
    expect(stdout.split('\n')).toContain(line)
})
