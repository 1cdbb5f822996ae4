// The provider of the AI SDK, used through the real package `ai`: whole answers, objects, settings and usage.

import { createProviderRegistry, generateObject, generateText, jsonSchema, NoSuchModelError, Output } from 'ai'
import type { ScriptedRequest } from 'mlx-serving'
import { createMlx, mlx as shared } from 'mlx-serving/ai-sdk'
import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { failure } from '../support.js'
import { demo, STRICT, scripted } from './ai-sdk.js'

const SUM = jsonSchema<{ sum: number }>({
  type: 'object',
  properties: { sum: { type: 'integer', minimum: 0, maximum: 99 } },
  required: ['sum'],
  additionalProperties: false,
})

test('the demo model answers, with usage, a response id and metadata of the engine', async () => {
  const { mlx, model } = await demo()
  const answer = await generateText({ model: mlx, system: 'You are brief.', prompt: 'What is 20 + 3?' })
  expect(answer.text).toContain('23')
  expect([answer.finishReason, answer.rawFinishReason]).toEqual(['stop', 'stop'])
  const { inputTokens = 0, outputTokens = 0, totalTokens } = answer.usage
  expect([inputTokens > 0, outputTokens > 0, totalTokens]).toEqual([true, true, inputTokens + outputTokens])
  expect(answer.usage.outputTokenDetails).toMatchObject({ reasoningTokens: 0, textTokens: outputTokens })
  expect(answer.response).toMatchObject({ id: expect.any(String), modelId: model.id, timestamp: expect.any(Date) })
  const expected = { served: 'computed', seed: expect.any(Number), timings: { ttftMs: expect.any(Number) } }
  expect(answer.providerMetadata?.mlx).toMatchObject(expected)
  expect(answer.warnings).toEqual([])
})

test('an answer that is shared counts its prompt as cached', async () => {
  const { mlx } = await demo({ cache: { promptCache: { enabled: true } } })
  const ask = () => generateText({ model: mlx, prompt: 'What is 20 + 3?', temperature: 0 })
  const [first, second] = [await ask(), await ask()]
  expect(second.text).toBe(first.text)
  expect(second.providerMetadata?.mlx).toMatchObject({ served: 'cached', sharedFrom: first.response.id })
  expect(second.response.id).not.toBe(first.response.id)
  expect(first.usage.inputTokenDetails).toMatchObject({ cacheReadTokens: 0, noCacheTokens: first.usage.inputTokens })
  expect(second.usage.inputTokenDetails).toMatchObject({ cacheReadTokens: first.usage.inputTokens, noCacheTokens: 0 })
})

test('objects match their schema: Output.object, generateObject, Output.choice, Output.array and Output.json', async () => {
  const { mlx } = await demo()
  const prompt = 'What is 12 + 7?'
  const { output } = await generateText({ model: mlx, prompt, output: Output.object({ schema: SUM }) })
  expect(output).toEqual({ sum: expect.any(Number) })
  const { object } = await generateObject({ model: mlx, prompt, schema: z.object({ sum: z.int().min(0).max(99) }) })
  expect(object).toEqual({ sum: expect.any(Number) })
  const choice = await generateText({ model: mlx, prompt, output: Output.choice({ options: ['odd', 'even'] }) })
  expect(['odd', 'even']).toContain(choice.output)
  const array = await generateText({
    model: mlx,
    prompt,
    output: Output.array({ element: jsonSchema<string>({ enum: ['odd', 'even'] }), maxItems: 2 }),
  })
  expect(array.output.every(element => ['odd', 'even'].includes(element))).toBe(true)
})

test('an output in JSON without a schema is an object or a list, not a text in quotation marks', async () => {
  const { mlx } = await scripted([
    { match: 'list', text: '[1, "two"]' },
    { match: 'text', text: '"a text"' },
  ])
  const { output } = await generateText({ model: mlx, prompt: 'A list', output: Output.json() })
  expect(output).toEqual([1, 'two'])
  // A script that the request does not allow.
  const refused = await failure(generateText({ model: mlx, prompt: 'A text', output: Output.json() }))
  expect(refused).toMatchObject({ code: 'ConfigError' })
})

test('settings and provider options reach the engine', async () => {
  const asked: ScriptedRequest['params'][] = []
  const { mlx } = await scripted(request => {
    asked.push(request.params)
    return { text: 'Hello. Bye.' }
  })
  const settings = { temperature: 0.5, topP: 0.9, topK: 7, presencePenalty: 0.1, frequencyPenalty: 0.2, seed: 11 }
  const own = { minP: 0.1, repetitionPenalty: 1.1, logitBias: { 5: -1 }, logprobs: 2, cacheSalt: 'one', tenant: 'two' }
  const answer = await generateText({
    model: mlx,
    prompt: 'Hi',
    maxOutputTokens: 20,
    stopSequences: [' Bye'],
    ...settings,
    providerOptions: { mlx: own },
  })
  expect(answer.text).toBe('Hello.')
  expect(answer.providerMetadata?.mlx).toMatchObject({ seed: 11, logprobs: expect.any(Array) })
  const { tenant, ...params } = own
  expect(asked[0]).toMatchObject({ ...settings, ...params, maxTokens: 20, stopSequences: [' Bye'] })
  const cut = await generateText({ model: mlx, prompt: 'Hi', maxOutputTokens: 1 })
  expect(cut.finishReason).toBe('length')
})

test('provider options can set other constraints than a schema', async () => {
  const { mlx } = await demo()
  const providerOptions = { mlx: { structured: { choices: ['odd', 'even'] } } }
  const { text } = await generateText({ model: mlx, prompt: 'What is 12 + 7?', providerOptions })
  expect(['odd', 'even']).toContain(text)
  const both = { model: mlx, prompt: 'Hi', output: Output.object({ schema: SUM }), providerOptions }
  expect(await failure(generateText(both))).toMatchObject({ param: 'providerOptions.mlx.structured' })
})

test('a setting without an effect gives a warning, and an unknown provider option an error', async () => {
  const { mlx } = await scripted([{ match: 'Hi', text: '{"sum": 1}' }])
  const { warnings } = await generateText({
    model: mlx,
    prompt: 'Hi',
    reasoning: 'high',
    stopSequences: ['}'],
    output: Output.object({ schema: SUM }),
  })
  expect(warnings).toEqual([
    { type: 'unsupported', feature: 'stopSequences', details: expect.any(String) },
    { type: 'unsupported', feature: 'reasoning', details: expect.stringContaining('templateVariables') },
  ])
  const strict = await generateText({
    model: mlx,
    prompt: 'Hi',
    tools: {
      add: STRICT,
      search: { type: 'provider', isProviderExecuted: true, id: 'other.search', args: {}, inputSchema: SUM },
    },
  })
  const features = strict.warnings?.map(warning => 'feature' in warning && warning.feature)
  expect(features).toEqual(['strict', 'inputExamples', 'tool other.search'])
  const unknown = generateText({ model: mlx, prompt: 'Hi', providerOptions: { mlx: { top_k: 1 } } })
  expect(await failure(unknown)).toMatchObject({ code: 'InvalidParams', param: 'top_k' })
})

test('an image, a file and a picture of a tool are refused by name', async () => {
  const { mlx, engine } = await scripted([])
  const image = { type: 'file' as const, data: new Uint8Array([1]), mediaType: 'image/png' }
  // The AI SDK would fetch a URL that the model does not support.
  const remote = { ...image, data: new URL('http://127.0.0.1:9/image.png') }
  const asked = [
    { role: 'user' as const, content: [{ type: 'text' as const, text: 'What is this?' }, image] },
    { role: 'user' as const, content: [remote] },
    { role: 'assistant' as const, content: [image] },
  ]
  for (const message of asked) {
    const error = await failure(generateText({ model: mlx, messages: [message] }))
    expect([error.name, error.message]).toEqual([
      'AI_UnsupportedFunctionalityError',
      expect.stringContaining('image/png'),
    ])
  }
  expect(engine.stats().submitted).toBe(0)
})

test('a file whose data is a text is read as text', async () => {
  const asked: unknown[] = []
  const { mlx } = await scripted(({ messages }) => {
    asked.push(messages)
    return { text: 'Read' }
  })
  const data = { type: 'text' as const, text: 'The notes' }
  const file = { type: 'file' as const, data, mediaType: 'text/plain' }
  const content = [{ type: 'text' as const, text: 'Sum up' }, file]
  await generateText({ model: mlx, messages: [{ role: 'user', content }] })
  const texts = ['Sum up', 'The notes'].map(text => ({ type: 'text', text }))
  expect(asked[0]).toMatchObject([{ role: 'user', content: texts }])
})

test('kinds of models that the engine does not run are errors', async () => {
  for (const kind of ['embeddingModel', 'textEmbeddingModel', 'imageModel'] as const) {
    const error = await failure((async () => shared[kind]('nomic'))())
    expect([NoSuchModelError.isInstance(error), error.modelId]).toEqual([true, 'nomic'])
  }
})

test('a provider without an engine starts one, loads models with their options, and disposes of it', async () => {
  const mlx = createMlx({ engineOptions: { backend: { simulated: 'instant' } } })
  onTestFinished(() => mlx[Symbol.asyncDispose]())
  const tracks: number[] = []
  const own = mlx({ id: 'mine', onProgress: ({ loadedBytes }) => tracks.push(loadedBytes) })
  const registry = createProviderRegistry({ mlx })
  const asked = [own, mlx('mine'), registry.languageModel('mlx:mine')]
  await generateText({ model: own, prompt: 'Hi', maxOutputTokens: 2 })
  const answers = await Promise.all(asked.map(model => generateText({ model, prompt: 'Hi', maxOutputTokens: 2 })))
  expect(answers.map(({ response }) => response.modelId)).toEqual(['mine', 'mine', 'mine'])
  expect(tracks.length).toBeGreaterThan(0)
  const engine = await mlx.engine()
  expect(engine.listModels().map(({ id }) => id)).toEqual(['mine'])
  await engine.unloadModel('mine')
  expect((await generateText({ model: own, prompt: 'Hi', maxOutputTokens: 2 })).response.modelId).toBe('mine')
  await mlx[Symbol.asyncDispose]()
  expect(await failure(generateText({ model: own, prompt: 'Hi' }))).toMatchObject({ code: 'EngineClosed' })
})

test('an engine that was passed outlives the provider', async () => {
  const { engine, model } = await demo()
  const mlx = createMlx({ engine })
  await mlx[Symbol.asyncDispose]()
  expect(await generateText({ model: mlx(model), prompt: 'Hi', maxOutputTokens: 1 })).toBeDefined()
  expect(await generateText({ model: mlx(model.id), prompt: 'Hi', maxOutputTokens: 1 })).toBeDefined()
})

test('the error about a wrong option names it', async () => {
  const { engine } = await demo()
  const make = (options: object) => failure((async () => createMlx(options))())
  expect(await make({ engine: {} })).toMatchObject({ code: 'ConfigError', param: 'engine' })
  expect(await make({ engine, engineOptions: {} })).toMatchObject({ code: 'ConfigError', param: 'engineOptions' })
  expect(await make({ baseURL: '' })).toMatchObject({ param: 'baseURL' })
  expect(await failure((async () => shared(5 as never))())).toMatchObject({ code: 'InvalidParams', param: 'model' })
  // After a start that failed, the next request starts the engine again.
  const wrong = createMlx({ engineOptions: { preset: 'fast' as never } })
  for (const _ of [1, 2]) {
    expect(await failure(generateText({ model: wrong(), prompt: 'Hi' }))).toMatchObject({ code: 'ConfigError' })
  }
})
