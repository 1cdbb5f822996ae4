// toolChoice enforces tool calls: the demo model was not trained on these tools, so only the constraint makes it call them.

import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { EngineOptions, Message, Tool, ToolCallDelta } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { failure, IN_OWN_PRECISION, type Ready, withMlx } from './support.js'

const messages: Message[] = [{ role: 'user', content: 'What is 12 + 7?' }]
const object = (properties: object) => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
})
const TOOLS = [
  {
    type: 'function',
    function: {
      name: 'add',
      parameters: object({ a: { type: 'integer', minimum: 0, maximum: 99 }, unit: { enum: ['m', 'km'] } }),
    },
  },
  { type: 'function', function: { name: 'now' } },
] as Tool[]

const FORMATS: Record<string, string> = {
  hermes: '<tool_call>',
  mistral: '[TOOL_CALLS]',
  'mistral, later': '[TOOL_CALLS] [ARGS]',
  'llama 3 json': '<|python_tag|>',
  'llama 3 pythonic': 'func_name1(',
  'gemma 3': '```tool_code',
}

/** The demo model with a chat template that contains `sign`, by which the engine recognizes a format. */
async function withFormat(sign: string, options: EngineOptions = {}, open = withMlx): Promise<Ready> {
  const { engine, model } = await open(options)
  const dir = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  await cp(model.path, dir, { recursive: true })
  const turns =
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}{{ '<|assistant|>' }}"
  await writeFile(path.join(dir, 'chat_template.jinja'), `{# ${sign} #}{{ tools[0:0] }}${turns}`)
  return { engine, model: await engine.loadModel(dir) }
}

const inFloat32 = Object.entries(FORMATS).map(([name, sign]) => [name, sign, withMlx] as const)
const inOwnPrecision = IN_OWN_PRECISION.map(([name, open]) => [`hermes, ${name}`, FORMATS.hermes, open] as const)

test.each([...inFloat32, ...inOwnPrecision])('toolChoice required makes calls: %s', async (_, sign, open) => {
  const { engine, model } = await withFormat(sign, {}, open)
  const sampled = { temperature: 1, seed: 1, n: 3, maxTokens: 300 }
  const { choices = [] } = await engine.generate({ model, messages, tools: TOOLS, toolChoice: 'required', ...sampled })
  for (const { toolCalls = [], text, finishReason } of choices) {
    expect(toolCalls.length).toBeGreaterThan(0)
    // An answer may be cut inside a call. Then its text may be the start of that call.
    if (finishReason !== 'length') expect([finishReason, text]).toEqual(['tool-calls', ''])
    for (const { function: called } of toolCalls) {
      if (called.name === 'now') expect(called.arguments).toEqual({})
      else expect(called.arguments).toEqual({ a: expect.any(Number), unit: expect.stringMatching(/^k?m$/) })
    }
  }
  const one = await engine.generate({ model, messages, tools: TOOLS, toolChoice: { name: 'now' } })
  expect(one.toolCalls?.map(call => call.function)).toEqual([{ name: 'now', arguments: {} }])
  expect(one.finishReason).toBe('tool-calls')
  const chosen = { type: 'function', function: { name: 'now' } } as const
  const same = await engine.generate({ model, messages, tools: TOOLS, toolChoice: chosen })
  expect(same.toolCalls?.map(call => call.function)).toEqual(one.toolCalls?.map(call => call.function))
})

/** A bias against the end of the turn and against `]`, which ends a list of calls: the model goes on where it may. */
const ENDLESS = { logitBias: { 1: -100, 65: -100 }, temperature: 0, maxTokens: 300 }

test.each([...inFloat32, ...inOwnPrecision])('a repeated call ends the answer: %s', async (_, sign, open) => {
  const { engine, model } = await withFormat(sign, {}, open)
  const params = { model, messages, tools: TOOLS.slice(1), toolChoice: 'required', ...ENDLESS } as const
  const generation = engine.generate(params)
  const deltas: ToolCallDelta[] = []
  for await (const { toolCalls = [] } of generation) deltas.push(...toolCalls)
  const { toolCalls = [], finishReason, text, warnings = [] } = await generation
  expect(toolCalls.map(call => call.function)).toEqual([{ name: 'now', arguments: {} }])
  expect([finishReason, text]).toEqual(['tool-calls', ''])
  // Llama 3 makes one call in an answer.
  const repeated = sign === FORMATS['llama 3 json'] ? [] : [expect.stringContaining('repeated its call of `now`')]
  expect(warnings).toEqual(repeated)
  expect(deltas.filter(({ isWithdrawn }) => isWithdrawn).map(({ index }) => index)).toEqual(repeated.map(() => 1))
  const one = await engine.generate({ ...params, parallelToolCalls: false })
  expect(one.toolCalls?.map(call => call.function)).toEqual([{ name: 'now', arguments: {} }])
  expect(one.finishReason).toBe('tool-calls')
  expect(one).not.toHaveProperty('warnings')
})

const SUM = { schema: object({ sum: { type: 'integer', minimum: 0, maximum: 99 } }) }
const isSum = { sum: expect.any(Number) }

test.each([...inFloat32, ...inOwnPrecision])('tools and a schema give calls or a text: %s', async (_, sign, open) => {
  const { engine, model } = await withFormat(sign, {}, open)
  const params = { model, messages, tools: TOOLS, structured: SUM, temperature: 1.5, seed: 1, maxTokens: 400 } as const
  const { choices = [] } = await engine.generate({ ...params, n: 6 })
  for (const { toolCalls, text, parsed, finishReason } of choices.filter(({ finishReason: end }) => end !== 'length')) {
    if (toolCalls === undefined) {
      expect([parsed, finishReason]).toEqual([isSum, 'stop'])
      expect(JSON.parse(text)).toEqual(parsed)
    } else expect([parsed, finishReason, text]).toEqual([undefined, 'tool-calls', ''])
  }
  const none = await engine.generate({ ...params, toolChoice: 'none' as const })
  expect(none).toMatchObject({ finishReason: 'stop', parsed: isSum })
  const required = await engine.generate({ ...params, toolChoice: { name: 'now' } })
  expect(required).toMatchObject({ finishReason: 'tool-calls', toolCalls: [{ function: { name: 'now' } }] })
  expect(required).not.toHaveProperty('parsed')
})

test('the model chooses between calls and a text of the schema', async () => {
  const { engine, model } = await withFormat(FORMATS.hermes)
  const [brace] = await engine.tokenize({ model, text: '{' })
  const params = { model, messages, tools: TOOLS, structured: SUM, temperature: 0, maxTokens: 400 } as const
  const text = await engine.generate({ ...params, logitBias: { [brace]: 100 } })
  expect(text).toMatchObject({ finishReason: 'stop', parsed: isSum })
  expect(text).not.toHaveProperty('toolCalls')
  const calls = await engine.generate({ ...params, logitBias: { [brace]: -100 }, parallelToolCalls: false })
  expect(calls).toMatchObject({ finishReason: 'tool-calls', text: '', toolCalls: [{ type: 'function' }] })
  expect(calls).not.toHaveProperty('parsed')
})

test('a required call streams its arguments, and is shared only with the same toolChoice', async () => {
  const { engine, model } = await withFormat('<tool_call>', { cache: {} })
  const params = { model, messages, tools: TOOLS, toolChoice: { name: 'add' }, temperature: 0, maxTokens: 400 } as const
  let text = ''
  const generation = engine.generate(params)
  for await (const { toolCalls = [] } of generation) text += toolCalls.map(call => call.argumentsDelta).join('')
  const { toolCalls = [] } = await generation
  expect(JSON.parse(text)).toEqual(toolCalls[0].function.arguments)
  const again = await engine.generate(params)
  expect([again.served, again.toolCalls?.[0].function]).toEqual(['cached', toolCalls[0].function])
  const other = await engine.generate({ ...params, toolChoice: 'auto' as const })
  expect(other.served).toBe('computed')
})

test('the error about calls that cannot be enforced names the param', async () => {
  const { engine, model } = await withFormat('<tool_call>')
  const refused = async (more: object) =>
    failure(engine.generate({ model, messages, tools: TOOLS, toolChoice: 'required', ...more } as never))
  expect(await refused({ stopSequences: ['x'] })).toMatchObject({ code: 'InvalidParams', param: 'stopSequences' })
  const tools = [{ type: 'function', function: { name: 'f', parameters: { properties: { x: { not: {} } } } } }]
  expect(await refused({ tools })).toMatchObject({ code: 'GuidanceError', param: 'tools' })
  const gemma = await withFormat('<start_function_call>')
  const params = { model: gemma.model, messages, tools: TOOLS } as const
  for (const demand of [{ toolChoice: 'required' }, { structured: SUM }] as const) {
    const error = await failure(gemma.engine.generate({ ...params, ...demand }))
    expect(error).toMatchObject({ code: 'InvalidParams', param: 'toolChoice' })
  }
  const none = { ...params, structured: SUM, toolChoice: 'none', maxTokens: 100 } as const
  expect(await gemma.engine.generate(none)).toMatchObject({ finishReason: 'stop', parsed: isSum })
})
