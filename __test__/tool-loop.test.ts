// The loop of docs/tool-calls.md is right in every ending of a turn. The code that runs here is the code of the page.

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Engine, GenerateOptions, GenerateResult, Message, MessagesParams, Tool } from 'mlx-serving'
import { beforeAll, expect, test } from 'vitest'
import { speaking, speakingInTurns } from './speaking.js'
import { failure, M3_MAX, ROOT } from './support.js'

type Functions = { [name: string]: (args: Record<string, unknown>) => Promise<string> }
type AnswerWithTools = (
  engine: Engine,
  params: MessagesParams,
  functions: Functions,
  options?: GenerateOptions & { maxTurns?: number },
) => Promise<{ result: GenerateResult; messages: Message[] }>

let answerWithTools: AnswerWithTools

beforeAll(async () => {
  const page = await readFile(path.join(ROOT, 'docs', 'tool-calls.md'), 'utf8')
  const [, code] = page.match(/^```ts\n(\/\/ answer-with-tools\.mts\n.*?)^```/ms) ?? []
  await mkdir(path.join(ROOT, 'target'), { recursive: true })
  const folder = await mkdtemp(path.join(ROOT, 'target', 'tool-loop-'))
  const file = path.join(folder, 'answer-with-tools.mts')
  await writeFile(file, code)
  ;({ answerWithTools } = await import(/* @vite-ignore */ file))
  return () => rm(folder, { recursive: true })
})

const TEMPLATE = '{# <tool_call> #}{{ tools }}'
const TOOLS: Tool[] = [{ type: 'function', function: { name: 'get_weather' } }]
const QUESTION: Message[] = [{ role: 'user', content: 'Do I need an umbrella?' }]
const FUNCTIONS: Functions = {
  async get_weather({ city }) {
    if (typeof city !== 'string') throw new TypeError('`city` must be a text')
    return `It rains in ${city}.`
  },
}
const call = (name: string, args: object) =>
  `<tool_call>{"name": "${name}", "arguments": ${JSON.stringify(args)}}</tool_call>`
const CALL = call('get_weather', { city: 'Bonn' })

/** Runs the loop against a model that gives these answers, one in each turn. */
async function loop(answers: string[], more: object = {}, functions = FUNCTIONS) {
  const { engine, model } = await speakingInTurns(answers, TEMPLATE)
  const { result, messages } = await answerWithTools(
    engine,
    { model, messages: QUESTION, tools: TOOLS, ...more },
    functions,
  )
  return { result, turns: messages.slice(1).map(({ role, content }) => [role, content]) }
}

test("'stop' ends the loop with the answer", async () => {
  const { result, turns } = await loop(['It is dry today.'])
  expect(result).toMatchObject({ finishReason: 'stop', text: 'It is dry today.' })
  expect(turns).toEqual([['assistant', 'It is dry today.']])
})

test("'tool-calls' runs the call, and the model reads its result", async () => {
  const { result, turns } = await loop([`I look. ${CALL}`, 'Yes, take one.'])
  expect(result).toMatchObject({ finishReason: 'stop', text: 'Yes, take one.' })
  expect(turns).toEqual([
    ['assistant', 'I look.'],
    ['tool', 'It rains in Bonn.'],
    ['assistant', 'Yes, take one.'],
  ])
})

test("'length' returns the cut answer, and runs none of its calls", async () => {
  const run = { get_weather: () => Promise.reject(new Error('it ran')) }
  const { result, turns } = await loop([`${CALL} ${CALL}`], { maxTokens: 8 }, run)
  expect(result).toMatchObject({ finishReason: 'length', warnings: [expect.stringContaining('maxTokens')] })
  expect(result.toolCalls).toHaveLength(1)
  expect(turns).toHaveLength(1)
})

test("'cancelled' returns the answer so far", async () => {
  const { engine, model } = await speaking(CALL, `${TEMPLATE} Its`, { profile: M3_MAX })
  const params = { model, messages: QUESTION, tools: TOOLS }
  const options: GenerateOptions = { signal: AbortSignal.timeout(1), onAbort: 'stop' }
  const { result } = await answerWithTools(engine, params, FUNCTIONS, options)
  expect(result.finishReason).toBe('cancelled')
  const aborted = failure(answerWithTools(engine, params, FUNCTIONS, { signal: AbortSignal.abort() }))
  expect((await aborted).name).toBe('AbortError')
})

test('the model reads that a tool is unknown', async () => {
  const { result, turns } = await loop([call('rm', {}), 'Then I do not know.'])
  expect(result.text).toBe('Then I do not know.')
  expect(turns[1]).toEqual(['user', expect.stringContaining('`rm` is not one of the tools')])
})

test('the model reads that a call is malformed', async () => {
  const { turns } = await loop([CALL.replace('}}', '?'), CALL, 'Yes.'])
  expect(turns[1]).toEqual(['user', expect.stringContaining('malformed')])
  expect(turns.slice(2)).toEqual([
    ['assistant', ''],
    ['tool', 'It rains in Bonn.'],
    ['assistant', 'Yes.'],
  ])
})

test('a warning about the prompt is not a malformed call', async () => {
  const template = '{% for m in messages %}{{ m.content }} {% endfor %}'
  const { engine, model } = await speakingInTurns([CALL, 'Yes.'], template, { load: { toolPrompt: 'hermes' } })
  const params = { model, messages: QUESTION, tools: TOOLS }
  const { result, messages } = await answerWithTools(engine, params, FUNCTIONS, { maxTurns: 2 })
  expect(result).toMatchObject({
    finishReason: 'stop',
    text: 'Yes.',
    warnings: [expect.stringContaining('toolPrompt')],
  })
  expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant'])
})

test('bad arguments, a tool that throws and a tool without a function are results that the model reads', async () => {
  const bad = await loop([call('get_weather', { city: 1 }), 'Which city?'])
  expect(bad.turns[1]).toEqual(['tool', 'Error: `city` must be a text'])
  const thrown = await loop([CALL, 'It failed.'], {}, { get_weather: () => Promise.reject(new Error('offline')) })
  expect(thrown.turns[1]).toEqual(['tool', 'Error: offline'])
  const missing = await loop([CALL, 'It failed.'], {}, {})
  expect(missing.turns[1]).toEqual(['tool', 'Error: there is no function get_weather'])
})

test('a model that calls in every turn ends the loop with an error', async () => {
  const { engine, model } = await speaking(CALL, `${TEMPLATE} Its`)
  let runs = 0
  const counted = { get_weather: async () => `${++runs}` }
  const params = { model, messages: QUESTION, tools: TOOLS }
  const error = await failure(answerWithTools(engine, params, counted, { maxTurns: 3 }))
  expect([error.message, runs]).toEqual(['there is no answer after 3 turns', 3])
})
