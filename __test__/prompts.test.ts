// Prompts: chat templates with all their inputs, assistant prefill, and templates of the caller. The recorded renderings
// were made by `transformers`; see tools/conformance.

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { type ChatTemplateParams, InvalidParamsError, type Json, type Message } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, ROOT, simulated, withMlx, withTemplate } from './support.js'

const CHATS = path.join(ROOT, 'tools', 'conformance', 'chat')

interface Recorded {
  conversations: Record<string, RecordedChat>
  templates: Record<string, Record<string, { text?: string; refused?: string }>>
}

interface RecordedChat {
  messages: Record<string, never>[]
  tools?: never[]
  variables?: Record<string, Json>
  continue?: boolean
}

/** A recorded conversation as params. */
function paramsOf(chat: RecordedChat): Omit<ChatTemplateParams, 'model'> {
  const messages = chat.messages.map(({ tool_calls, tool_call_id, reasoning_content, ...message }) => ({
    ...message,
    toolCalls: tool_calls,
    toolCallId: tool_call_id,
    reasoning: reasoning_content,
  })) as unknown as Message[]
  const { tools = null, variables = null, continue: continueFinalMessage = false } = chat
  return { messages, tools, templateVariables: variables, continueFinalMessage } as never
}

// Templates without special tokens, because those of the demo model differ from the recorded ones.
test.each(['qwen-2.5', 'qwen-3', 'gpt-oss'])('messages give the same prompt as in transformers: %s', async name => {
  const source = await readFile(path.join(CHATS, 'templates', `${name}.jinja`), 'utf8')
  const recorded: Recorded = JSON.parse(await readFile(path.join(CHATS, 'rendered.json'), 'utf8'))
  const { engine, model } = await withTemplate(source)
  const undated = (prompt: string) => prompt.replace(/\d{4}-\d\d-\d\d/, 'a day')
  let compared = 0
  for (const [conversation, { text }] of Object.entries(recorded.templates[name] ?? {})) {
    const chat = recorded.conversations[conversation] as RecordedChat
    // Variables that the template does not read are refused.
    const isRead = Object.keys(chat.variables ?? {}).every(variable => source.includes(variable))
    if (text === undefined || !isRead) continue
    const rendered = await engine.applyChatTemplate({ model, ...paramsOf(chat) })
    expect(undated(rendered), conversation).toBe(undated(text))
    compared++
  }
  expect(compared).toBeGreaterThan(20)
})

const USER: Message = { role: 'user', content: 'What is 12 + 7?' }

test('continueFinalMessage continues the text of the last message', async () => {
  const { engine, model } = await withMlx()
  const messages = [USER, { role: 'assistant', content: 'The answer is' }]
  const prompt = await engine.applyChatTemplate({ model, messages, continueFinalMessage: true })
  expect(prompt).toBe('<|user|>What is 12 + 7?<|end|><|assistant|>The answer is')
  const given = { model, maxTokens: 8, temperature: 0 }
  const continued = await engine.generate({ ...given, messages, continueFinalMessage: true })
  const plain = await engine.generate({ ...given, messages })
  expect(continued.usage.inputTokens).toBeLessThan(plain.usage.inputTokens)
  const turns = await engine.generate({ ...given, messages, continueFinalMessage: false })
  expect(turns.usage).toEqual(plain.usage)
})

test('tools, calls and variables reach the template', async () => {
  const { engine, model } = await withTemplate(
    '{{ tools | tojson }}|{% for m in messages %}{{ m.role }}:{{ m.content }}:{{ m.tool_calls | tojson if m.tool_calls }}{{ m.tool_call_id }};{% endfor %}|{{ mood }}{{ add_generation_prompt }}',
  )
  const call = { id: 'c1', function: { name: 'add', arguments: '{"b": 2, "a": 1.5}' } }
  const rendered = await engine.applyChatTemplate({
    model,
    tools: [{ type: 'function', function: { name: 'add', parameters: { type: 'object' }, strict: true } }],
    messages: [
      { role: 'assistant', toolCalls: [call] },
      { role: 'tool', content: '3', toolCallId: 'c1' },
    ],
    templateVariables: { mood: ['calm', { n: 1, x: null, y: undefined }] },
  })
  expect(rendered).toBe(
    '[{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}, "strict": true}}]|' +
      'assistant::[{"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"b": 2, "a": 1.5}}}];' +
      "tool:3:c1;|['calm', {'n': 1, 'x': None}]True",
  )
})

test('a template variable changes the prompt', async () => {
  const { engine, model } = await withTemplate("{{ messages[0].content }}{{ '!!!!' if loud }}")
  const loud = await engine.generate({ model, messages: [USER], templateVariables: { loud: true }, maxTokens: 1 })
  const calm = await engine.generate({ model, messages: [USER], maxTokens: 1 })
  expect(loud.usage.inputTokens).toBeGreaterThan(calm.usage.inputTokens)
})

test('a template of the caller gives the same answer as its text', async () => {
  const { engine, model } = await withMlx()
  const template = "{% for word in words %}{{ word }}{{ ', ' if not loop.last }}{% endfor %}"
  const given = { model, maxTokens: 8, temperature: 0 }
  const filled = await engine.generate({ ...given, prompt: { template, variables: { words: ['one', 'two'] } } })
  const plain = await engine.generate({ ...given, prompt: 'one, two' })
  expect(filled.tokens).toEqual(plain.tokens)
  expect(filled.usage).toEqual(plain.usage)
  expect((await engine.generate({ ...given, prompt: { template: 'one, two' } })).tokens).toEqual(plain.tokens)
})

test('each getter runs once', async () => {
  const { engine, model } = await withTemplate('{{ tools | tojson }}{{ mood }}')
  const reads: string[] = []
  const counted = <T extends object>(name: string, object: T): T =>
    Object.defineProperty({ ...object }, name, {
      enumerable: true,
      get: () => {
        reads.push(name)
        return object[name as keyof T]
      },
    })
  const tool = { type: 'function' as const, function: counted('name', { name: 'add' }) }
  await engine.applyChatTemplate({
    model,
    messages: [counted('content', { role: 'user', content: 'x' })],
    tools: [tool],
    templateVariables: counted('mood', { mood: 'calm' }),
  })
  expect(reads.sort()).toEqual(['content', 'mood', 'name'])
})

/** An array nested to this depth. */
function deep(levels: number): Json {
  let value: Json = 'x'
  for (let level = 0; level < levels; level++) value = [value]
  return value
}

const circular: Record<string, unknown> = {}
circular.self = circular

const tool = { type: 'function', function: { name: 'f' } }

test.each<[string, string, object]>([
  ['tools that are not a list', 'tools', { tools: tool }],
  ['a tool that is a string', 'tools[0]', { tools: ['f'] }],
  ['a tool of another type', 'tools[0].type', { tools: [{ ...tool, type: 'web' }] }],
  ['a tool without a name', 'tools[1].function.name', { tools: [tool, { type: 'function', function: {} }] }],
  ['a tool with a function in it', 'tools[0].run', { tools: [{ ...tool, run: () => 1 }] }],
  ['a tool with a date in it', 'tools[0].at', { tools: [{ ...tool, at: new Date() }] }],
  ['a tool with a hole in a list', 'tools[0].x[0]', { tools: [{ ...tool, x: new Array(2) }] }],
  ['a bigint', 'templateVariables.mood', { templateVariables: { mood: 1n } }],
  ['a number that JSON lacks', 'templateVariables.mood.x', { templateVariables: { mood: { x: Number.NaN } } }],
  ['a map', 'templateVariables.mood', { templateVariables: { mood: new Map() } }],
  ['an object in itself', 'templateVariables.mood', { templateVariables: { mood: circular } }],
  ['too many levels', 'templateVariables.mood', { templateVariables: { mood: deep(60) } }],
  ['a list that is too long', 'templateVariables.mood', { templateVariables: { mood: new Array(70_000).fill(0) } }],
  ['an empty list that is too long', 'templateVariables.mood', { templateVariables: { mood: new Array(1e9) } }],
  ['a text that is too long', 'templateVariables.mood', { templateVariables: { mood: 'x'.repeat((4 << 20) + 1) } }],
  [
    'too many variables',
    'templateVariables',
    { templateVariables: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`v${i}`, i])) },
  ],
  ['variables that are a list', 'templateVariables', { templateVariables: [] }],
  ['a variable that has a param', 'templateVariables.messages', { templateVariables: { messages: [] } }],
  ['a variable the template never reads', 'templateVariables.moood', { templateVariables: { moood: 1 } }],
  ['a switch that is not a boolean', 'continueFinalMessage', { continueFinalMessage: 'yes' }],
  ['a param that is misspelled', 'template_variables', { template_variables: {} }],
  ['a message with an unknown key', 'messages[0].tool_calls', { messages: [{ ...USER, tool_calls: [] }] }],
  ['a message without text or calls', 'messages[0].content', { messages: [{ role: 'assistant', toolCalls: [] }] }],
  ['a call without a function', 'messages[0].toolCalls[0].function', { messages: [{ ...USER, toolCalls: [{}] }] }],
  [
    'a call without a name',
    'messages[0].toolCalls[0].function.name',
    { messages: [{ ...USER, toolCalls: [{ function: { arguments: {} } }] }] },
  ],
  [
    'arguments that are not an object',
    'messages[0].toolCalls[0].function.arguments',
    { messages: [{ ...USER, toolCalls: [{ function: { name: 'f', arguments: '[1]' } }] }] },
  ],
  ['an id that is a number', 'messages[0].toolCallId', { messages: [{ ...USER, toolCallId: 1 }] }],
  [
    'a message without text that is to be continued',
    'continueFinalMessage',
    { messages: [{ ...USER, content: [] }], continueFinalMessage: true },
  ],
])('%s is refused by name', async (_, param, params) => {
  const { engine, model } = await withTemplate('{{ tools }}{{ mood }}{{ messages[-1].content }}')
  const all = { model, messages: [USER], ...params } as ChatTemplateParams
  for (const error of [await failure(engine.applyChatTemplate(all)), await failure(engine.generate(all))]) {
    expect(error).toBeInstanceOf(InvalidParamsError)
    expect(error.param).toMatch(new RegExp(`^${param.replace(/[[\]]/g, '\\$&')}(?![a-z])`))
  }
})

test('a model without tool support refuses tools, and any model refuses an unknown variable', async () => {
  const { engine } = await simulated()
  const chatTemplate = '{% for message in messages %}{{ message.content }}{% endfor %}'
  const model = await engine.loadModel({ chatTemplate, id: 'without tools' })
  const refused = (params: object) => failure(engine.generate({ model, messages: [USER], ...params }))
  expect(await refused({ tools: [tool] })).toMatchObject({ code: 'InvalidParams', param: 'tools' })
  const variables = { templateVariables: { enable_thinking: false } }
  expect(await refused(variables)).toMatchObject({ param: 'templateVariables.enable_thinking' })
})

test.each<[string, string, object]>([
  ['tools', 'tools', { prompt: 'a', tools: [tool] }],
  ['variables of a chat template', 'templateVariables', { prompt: 'a', templateVariables: {} }],
  ['spellings of special tokens', 'specialTokens', { prompt: 'a', specialTokens: 'all' }],
  ['a message to be continued', 'continueFinalMessage', { prompt: 'a', continueFinalMessage: true }],
  ['both tokens and a template', 'prompt', { prompt: { tokens: [1], template: 'a' } }],
  ['variables without a template', 'prompt', { prompt: { variables: {} } }],
  ['a template that is a number', 'prompt.template', { prompt: { template: 1 } }],
  ['a broken template', 'prompt.template', { prompt: { template: '{% for %}' } }],
  [
    'an endless template',
    'prompt.template',
    { prompt: { template: '{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}' } },
  ],
  [
    'a template whose text is too long',
    'prompt.template',
    { prompt: { template: "{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}" } },
  ],
  [
    'a template that calls itself',
    'prompt.template',
    { prompt: { template: '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}' } },
  ],
  ['a template that raises an error', 'prompt.template', { prompt: { template: "{{ raise_exception('no') }}" } }],
  [
    'a variable that the template never reads',
    'prompt.variables.b',
    { prompt: { template: '{{ a }}', variables: { b: 1 } } },
  ],
  ['a template that renders an empty text', 'prompt', { prompt: { template: '{{ a }}' } }],
])('with a prompt, the error about %s names the param', async (_, param, params) => {
  const { engine, model } = await simulated()
  const error = await failure(engine.generate({ model, ...params } as never))
  expect(error).toMatchObject({ code: 'InvalidParams', param })
  expect((await engine.generate({ model, prompt: 'a', maxTokens: 1 })).tokens).toHaveLength(1)
})
