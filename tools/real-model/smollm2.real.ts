// Tests that need a real model: chat quality, a real vocabulary and template, grammar and tools on real text. The expected
// tokens were recorded from mlx-lm, which ran the same weights in float32.

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import Ajv from 'ajv'
import { createEngine, type Engine, type Message, type ModelHandle, type Tool } from 'mlx-serving'
import { afterAll, beforeAll, expect, test } from 'vitest'

interface Expected {
  name: string
  messages: Message[]
  prompt_tokens: number[]
  tokens: number[]
  text: string
  finish_reason: 'stop' | 'length'
}

const FOLDER = process.env.MLX_SERVING_REAL_MODEL as string
const GREEDY = { maxTokens: 64, temperature: 0, cache: 'off' } as const
const EXPECTED: Expected[] = JSON.parse(await readFile(path.join(import.meta.dirname, 'expected.json'), 'utf8'))
/** SmolLM2's own template has no tools. This one has the Hermes format, which the model's tokens can spell. */
const TEMPLATE = `{%- if tools %}{{ '<|im_start|>system\\nCall a function as <tool_call>{"name": ..., "arguments": ...}</tool_call>. Functions:\\n' }}
{%- for tool in tools %}{{ tool | tojson }}{{ '\\n' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`

let engine: Engine
let model: ModelHandle

beforeAll(async () => {
  engine = await createEngine()
  model = await engine.loadModel(FOLDER)
})
afterAll(() => engine.dispose())

const ask = ({ messages }: Expected) => engine.generate({ model, messages, ...GREEDY })
const user = (content: string): Message[] => [{ role: 'user', content }]

test('the model has the published size and quantization', () => {
  expect(model).toMatchObject({ family: 'llama', contextLength: 8192, vocabSize: 49_152 })
  expect(model.quantization).toEqual({ bits: 4, groupSize: 32 })
})

test.each(EXPECTED)('prompt tokens equal those of transformers: $name', async ({ messages, prompt_tokens }) => {
  const text = await engine.applyChatTemplate({ model, messages })
  expect([...(await engine.tokenize({ model, text }))]).toEqual(prompt_tokens)
})

test.each(EXPECTED)('greedy tokens equal those of mlx-lm, alone: $name', async expected => {
  const { tokens, text, finishReason } = await ask(expected)
  expect([[...tokens], text, finishReason]).toEqual([expected.tokens, expected.text, expected.finish_reason])
})

test('greedy tokens equal those of mlx-lm, all prompts together', async () => {
  const answers = await Promise.all(EXPECTED.map(ask))
  for (const [index, { tokens }] of answers.entries()) {
    expect([...tokens], EXPECTED[index]?.name).toEqual(EXPECTED[index]?.tokens)
  }
})

test('streamed chunks join to the text, characters of many bytes included', async () => {
  for (const expected of EXPECTED.filter(({ name }) => ['emoji', 'japanese', 'unicode'].includes(name))) {
    let text = ''
    for await (const chunk of ask(expected)) text += chunk.text
    expect(text).toBe(expected.text)
  }
})

test('an answer ends before its stop sequence', async () => {
  const params = { model, messages: user('Count from 1 to 20, separated by commas.'), ...GREEDY }
  const { text: whole } = await engine.generate(params)
  const stop = whole.slice(12, 17)
  const { text, finishReason } = await engine.generate({ ...params, stopSequences: [stop] })
  expect([text, finishReason]).toEqual([whole.slice(0, whole.indexOf(stop)), 'stop'])
})

test('a structured answer is valid against its schema, and is about the question', async () => {
  const schema = {
    type: 'object',
    properties: {
      city: { type: 'string', maxLength: 30 },
      country: { enum: ['France', 'Italy', 'Spain'] },
      population: { type: 'integer', minimum: 0, maximum: 100_000_000 },
    },
    required: ['city', 'country', 'population'],
    additionalProperties: false,
  }
  const messages = user('Give the capital of France as JSON with city, country and population.')
  const { text, finishReason } = await engine.generate({ model, messages, structured: { schema }, ...GREEDY })
  const answer = JSON.parse(text)
  const validate = new Ajv().compile(schema)
  expect(validate(answer), JSON.stringify(validate.errors)).toBe(true)
  expect([finishReason, answer.city, answer.country]).toEqual(['stop', 'Paris', 'France'])
})

test('a required tool call names a tool and has arguments that fit its schema', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  await cp(FOLDER, folder, { recursive: true })
  await writeFile(path.join(folder, 'chat_template.jinja'), TEMPLATE)
  const withTools = await engine.loadModel(folder)
  const city = { type: 'string', enum: ['Paris', 'Rome', 'Oslo'] }
  const parameters = { type: 'object', properties: { city }, required: ['city'], additionalProperties: false }
  const tools: Tool[] = [
    { type: 'function', function: { name: 'get_weather', description: 'The weather in a city.', parameters } },
    { type: 'function', function: { name: 'get_time', description: 'The time of day.' } },
  ]
  const messages = user('What is the weather in Paris?')
  const params = { model: withTools, messages, tools, toolChoice: { name: 'get_weather' }, ...GREEDY } as const
  const { toolCalls = [], finishReason } = await engine.generate(params)
  expect(toolCalls[0]?.function).toMatchObject({ name: 'get_weather', arguments: { city: 'Paris' } })
  expect(finishReason).toBe('tool-calls')
  await engine.unloadModel(withTools)
  await rm(folder, { recursive: true })
})
