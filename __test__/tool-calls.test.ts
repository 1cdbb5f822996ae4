// Tool calls are parsed from answers, in the formats of chat templates.

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { GenerateChunk, GenerateResult, Generation, Message, Tool, ToolCallDelta } from 'mlx-serving'
import { describe, expect, test } from 'vitest'
import { PROMPT, speaking } from './speaking.js'
import { failure, M3_MAX, ROOT, sharing } from './support.js'

const TOOLS: Tool[] = [
  { type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } },
  { type: 'function', function: { name: 'now' } },
]
const QUESTION: Message = { role: 'user', content: 'How is the weather?' }
const PLACE = { place: 'Zürich "ZH"', days: [1, null], deep: { 'a b': true } }
const HERMES = `{# <tool_call> #}{{ tools }} ${PROMPT}`
const CALL = `<tool_call>\n{"name": "get_weather", "arguments": ${JSON.stringify(PLACE)}}\n</tool_call>`
const NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'

const params = { messages: [QUESTION], tools: TOOLS, maxTokens: 100 }

async function chunksOf(generation: Generation): Promise<GenerateChunk[]> {
  const chunks: GenerateChunk[] = []
  for await (const chunk of generation) chunks.push(chunk)
  return chunks
}

/** The tool calls that a reader puts together from chunks. */
function together(chunks: GenerateChunk[]) {
  const text = chunks.map(chunk => chunk.text).join('')
  const calls: (ToolCallDelta & { text: string })[] = []
  for (const delta of chunks.flatMap(chunk => chunk.toolCalls ?? [])) {
    const known = calls.find(({ index }) => index === delta.index)
    if (known === undefined) calls.push({ ...delta, text: delta.argumentsDelta })
    else Object.assign(known, { text: known.text + delta.argumentsDelta, isWithdrawn: delta.isWithdrawn })
  }
  return { text, calls }
}

const called = ({ toolCalls = [] }: GenerateResult) => toolCalls.map(call => call.function)

describe('a call in the format of the template', () => {
  const json = JSON.stringify(PLACE)
  const python = `place='Zürich "ZH"', days=[1, None], deep={'a b': True}`
  const gemma = `place:<escape>Zürich "ZH"<escape>,days:[1,null],deep:{<escape>a b<escape>:true}`
  const cases: Record<string, [string, string]> = {
    hermes: ['<tool_call>', CALL],
    mistral: ['[TOOL_CALLS]', `[TOOL_CALLS] [{"name": "get_weather", "arguments": ${json}}]`],
    'mistral, later': ['[TOOL_CALLS]', `[TOOL_CALLS]get_weather[ARGS]${json}`],
    'llama 3 json': ['<|python_tag|>', `{"name": "get_weather", "parameters": ${json}}`],
    'llama 3 pythonic': ['[func_name1(a=b)]', `[get_weather(${python})]`],
    'gemma 3': ['```tool_code', `\`\`\`tool_code\nprint(get_weather(${python}))\n\`\`\``],
    functiongemma: ['<start_function_call>', `<start_function_call>call:get_weather{${gemma}}<end_function_call>`],
  }
  test.each(Object.entries(cases))('%s', async (_, [sign, answer]) => {
    const { engine, model } = await speaking(answer, `{# ${sign} #}{{ tools }} ${PROMPT}`)
    const generation = engine.generate({ model, ...params })
    const { text, calls } = together(await chunksOf(generation))
    const result = await generation
    expect(called(result)).toEqual([{ name: 'get_weather', arguments: PLACE }])
    expect(result).toMatchObject({ text: '', finishReason: 'tool-calls' })
    expect(result).not.toHaveProperty('warnings')
    expect(text).toBe('')
    expect(calls).toMatchObject([{ index: 0, id: result.toolCalls?.[0].id, name: 'get_weather' }])
    expect(JSON.parse(calls[0].text)).toEqual(PLACE)
  })
})

test('arguments are streamed while they are generated', async () => {
  // A chunk has at most three tokens, and the arguments of the first call have five.
  const options = { profile: M3_MAX, streaming: { bufferTokens: 3 } }
  const { engine, model } = await speaking(`I look. ${CALL}\n${NOW}`, HERMES, options)
  const generation = engine.generate({ model, ...params })
  const chunks = await chunksOf(generation)
  const { text, calls } = together(chunks)
  expect(text).toBe('I look.')
  expect(calls.map(({ index, name, text }) => [index, name, text])).toEqual([
    [0, 'get_weather', JSON.stringify(PLACE)],
    [1, 'now', '{}'],
  ])
  const pieces = chunks.flatMap(chunk => chunk.toolCalls ?? []).filter(({ index }) => index === 0)
  expect(pieces.length).toBeGreaterThan(1)
  expect(pieces.filter(({ id }) => id !== undefined)).toHaveLength(1)
  expect((await generation).text).toBe(text)
})

test('a malformed call stays in the text, and is withdrawn from the stream', async () => {
  const answer = `So: ${CALL.replace('null]', 'oops]')}`
  const { engine, model } = await speaking(answer, HERMES, { profile: M3_MAX })
  const generation = engine.generate({ model, ...params })
  const { text, calls } = together(await chunksOf(generation))
  const result = await generation
  expect([text, result.text]).toEqual([answer, answer])
  expect(calls).toMatchObject([{ name: 'get_weather', isWithdrawn: true }])
  expect(result).toMatchObject({ finishReason: 'stop', warnings: [expect.stringContaining('malformed')] })
  expect(result).not.toHaveProperty('toolCalls')
})

test('a call of an unknown function is text', async () => {
  const answer = CALL.replace('get_weather', 'rm')
  const { engine, model } = await speaking(answer, HERMES)
  const result = await engine.generate({ model, ...params })
  expect(result.text).toBe(answer)
  expect(result.warnings).toEqual([expect.stringContaining('`rm` is not one of the tools')])
})

test('an answer that is cut short inside a call has no call', async () => {
  const { engine, model } = await speaking(CALL, HERMES, { profile: M3_MAX })
  const generation = engine.generate({ model, ...params, maxTokens: 6 })
  const streamed = together(await chunksOf(generation))
  const cut = await generation
  expect(streamed).toMatchObject({ text: cut.text, calls: [{ isWithdrawn: true }] })
  expect(cut).toMatchObject({ finishReason: 'length', warnings: [expect.stringContaining('cut off by `maxTokens`')] })
  expect(CALL.startsWith(cut.text)).toBe(true)
  const stopped = await engine.generate({ model, ...params, stopSequences: ['"days"'] })
  expect(stopped).toMatchObject({ finishReason: 'stop', text: CALL.slice(0, CALL.indexOf('"days"')) })
  expect(stopped.warnings).toEqual([expect.stringContaining('not complete')])
})

test('an answer that is cut short after a complete call keeps that call', async () => {
  const { engine, model } = await speaking(`${NOW}\n${CALL}`, HERMES)
  const { usage } = await engine.generate({ model, ...params })
  for (let maxTokens = 5; maxTokens < usage.outputTokens; maxTokens++) {
    const cut = await engine.generate({ model, ...params, maxTokens })
    expect(cut).toMatchObject({ finishReason: 'length', warnings: [expect.stringContaining('maxTokens')] })
    expect(called(cut)[0]).toEqual({ name: 'now', arguments: {} })
  }
})

describe('parallelToolCalls: false', () => {
  const single = { ...params, parallelToolCalls: false }

  test('an answer ends with its first complete call', async () => {
    const { engine, model } = await speaking(`I look. ${CALL}\n${NOW} So.`, HERMES, { profile: M3_MAX })
    const both = await engine.generate({ model, ...params })
    expect(called(both)).toHaveLength(2)
    const generation = engine.generate({ model, ...single })
    const { text, calls } = together(await chunksOf(generation))
    const one = await generation
    expect(called(one)).toEqual([{ name: 'get_weather', arguments: PLACE }])
    expect(one).toMatchObject({ text: 'I look.', finishReason: 'tool-calls' })
    expect(one).not.toHaveProperty('warnings')
    expect(one.usage.outputTokens).toBeLessThan(both.usage.outputTokens)
    expect(text).toBe('I look.')
    expect(calls).toMatchObject([{ index: 0, text: JSON.stringify(PLACE) }])
  })

  test('an answer without a call is whole, also after a malformed call', async () => {
    const answer = `${NOW.replace('now', 'rm')} Done.`
    const { engine, model } = await speaking(answer, HERMES)
    expect(await engine.generate({ model, ...single })).toMatchObject({ text: answer, finishReason: 'stop' })
  })

  test('only requests with the same value share an answer', async () => {
    const { engine, model } = await speaking(`${CALL}\n${NOW}`, HERMES, { cache: {} })
    const served = []
    for (const request of [params, single, single, { ...params, parallelToolCalls: true }])
      served.push((await engine.generate({ model, ...request })).served)
    expect(served).toEqual(['computed', 'computed', 'cached', 'cached'])
  })

  test('it goes with tools, and is a boolean', async () => {
    const { engine, model } = await sharing()
    const refused = (more: object) => failure(engine.generate({ model, ...single, ...more } as never))
    const error = { code: 'InvalidParams', param: 'parallelToolCalls' }
    expect(await refused({ tools: undefined })).toMatchObject(error)
    expect(await refused({ messages: undefined, tools: undefined, prompt: 'Hi' })).toMatchObject(error)
    expect(await refused({ parallelToolCalls: 'no' })).toMatchObject(error)
  })
})

test('tokens of calls have log-probabilities', async () => {
  const { engine, model } = await speaking(`I look. ${CALL}`, HERMES, { profile: M3_MAX })
  const generation = engine.generate({ model, ...params, logprobs: 1 })
  const chunks = await chunksOf(generation)
  for (const { tokens, logprobs } of chunks) expect(logprobs).toHaveLength(tokens.length)
  const { tokens, logprobs = [], toolCalls } = await generation
  expect(logprobs.map(({ tokenId }) => tokenId)).toEqual([...tokens])
  expect(toolCalls).toHaveLength(1)
})

test('a call that is passed back with its result has the form that the template expects', async () => {
  const file = path.join(ROOT, 'tools', 'conformance', 'chat', 'templates', 'mistral-tools.jinja')
  const template = `${await readFile(file, 'utf8')} ${PROMPT}`
  const { engine, model } = await speaking(
    `[TOOL_CALLS] [{"name": "now", "arguments": ${JSON.stringify(PLACE)}}]`,
    template,
    {},
  )
  const { text, toolCalls = [] } = await engine.generate({ model, ...params, templateVariables: { bos_token: '' } })
  const messages: Message[] = [
    QUESTION,
    { role: 'assistant', content: text, toolCalls },
    { role: 'tool', content: 'grey', toolCallId: toolCalls[0].id },
  ]
  const prompt = await engine.applyChatTemplate({
    model,
    messages,
    templateVariables: { bos_token: '', eos_token: '' },
  })
  const { id } = toolCalls[0]
  expect(prompt).toContain(
    `[TOOL_CALLS] [{"name": "now", "arguments": {"place": "Zürich \\"ZH\\"", "days": [1, null], "deep": {"a b": true}}, "id": "${id}"}]`,
  )
  expect(prompt).toContain(`"call_id": "${id}"`)
})

test('requests that share an answer get the same calls, with their own ids', async () => {
  // The first step takes one second longer, so the second request arrives while the first one runs.
  const backend = { simulated: M3_MAX, faults: [{ step: 0, kind: 'stall', ms: 1_000 } as const] }
  const { engine, model } = await speaking(CALL, HERMES, { backend, cache: {} })
  const ask = (id: string) => engine.generate({ model, ...params }, { id })
  const all = await Promise.all([ask('a'), ask('b')])
  all.push(await ask('c'), await ask('a'))
  expect(all.map(({ served }) => served)).toEqual(['computed', 'coalesced', 'cached', 'cached'])
  for (const result of all) expect(called(result)).toEqual(called(all[0]))
  const ids = all.map(({ toolCalls }) => toolCalls?.[0].id)
  expect(new Set(ids).size).toBe(3)
  expect(ids[3]).toBe(ids[0])
  expect(ids[0]).toMatch(/^[0-9A-Za-z]{9}$/)
})

test('a generation that is read after its end streams its calls', async () => {
  const { engine, model } = await speaking(`Well. ${CALL}`, HERMES)
  const generation = engine.generate({ model, ...params })
  const result = await generation
  const { text, calls } = together(await chunksOf(generation))
  expect(text).toBe(result.text)
  expect(calls).toMatchObject([{ id: result.toolCalls?.[0].id, name: 'get_weather', text: JSON.stringify(PLACE) }])
})

test('each choice has its own calls', async () => {
  const { engine, model } = await speaking(CALL, HERMES)
  const { choices = [] } = await engine.generate({ model, ...params, n: 3 })
  expect(choices.map(called)).toEqual(Array(3).fill([{ name: 'get_weather', arguments: PLACE }]))
  expect(new Set(choices.map(({ toolCalls }) => toolCalls?.[0].id)).size).toBe(3)
})

test("without tools, or with toolChoice: 'none', an answer is text and the prompt has no tools", async () => {
  const { engine, model } = await speaking(CALL, `{# <tool_call> #}{{ tools | tojson if tools }} ${PROMPT}`)
  const plain = { text: CALL, finishReason: 'stop' }
  expect(await engine.generate({ model, messages: [QUESTION], maxTokens: 100 })).toMatchObject(plain)
  expect(await engine.generate({ model, ...params, toolChoice: 'none' as const })).toMatchObject(plain)
  const shown = { model, messages: [QUESTION], tools: TOOLS }
  expect(await engine.applyChatTemplate({ ...shown, toolChoice: 'none' })).not.toContain('get_weather')
  expect(await engine.applyChatTemplate({ ...shown, toolChoice: 'auto' })).toContain('get_weather')
})

test('calls in an unknown format are text', async () => {
  const { engine, model } = await speaking(CALL, `{{ tools }} ${PROMPT}`)
  const result = await engine.generate({ model, ...params })
  expect(result).toMatchObject({ text: CALL, finishReason: 'stop' })
  expect(result).not.toHaveProperty('warnings')
})

test('a wrong toolChoice is refused', async () => {
  const { engine, model } = await sharing()
  const refused = async (more: object) => failure(engine.generate({ model, messages: [QUESTION], ...more } as never))
  expect(await refused({ toolChoice: 'auto' })).toMatchObject({ code: 'InvalidParams', param: 'toolChoice' })
  expect(await refused({ tools: [], toolChoice: 'required' })).toMatchObject({ param: 'toolChoice' })
  expect(await refused({ tools: TOOLS, toolChoice: { name: 'rm' } })).toMatchObject({ param: 'toolChoice.name' })
  expect(await refused({ tools: TOOLS, toolChoice: {} })).toMatchObject({ param: 'toolChoice.name' })
  const called = (name: unknown, type = 'function') => ({ tools: TOOLS, toolChoice: { type, function: { name } } })
  expect(await refused(called('rm'))).toMatchObject({ param: 'toolChoice.function.name' })
  expect(await refused(called(undefined))).toMatchObject({ param: 'toolChoice.function.name' })
  expect(await refused(called('now', 'tool'))).toMatchObject({ param: 'toolChoice.type' })
  expect(await refused({ tools: TOOLS, toolChoice: 'any' })).toMatchObject({
    code: 'InvalidParams',
    param: 'toolChoice',
  })
  const withPrompt = failure(engine.generate({ model, prompt: 'Hi', toolChoice: 'auto' } as never))
  expect(await withPrompt).toMatchObject({ code: 'InvalidParams', param: 'toolChoice' })
})
