// No param or option is accepted and ignored: for each field that index.d.ts declares, a request here shows an effect.
// A new field fails here until it has a request.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { GenerateOptions, GenerateParams, GenerateResult } from 'mlx-serving'
import { expect, test } from 'vitest'
import { ENDLESS, failure, M3_MAX, orderOf, type Ready, ROOT, sharing, simulated, until, withMlx } from './support.js'

const DECLARATIONS = readFileSync(path.join(ROOT, 'index.d.ts'), 'utf8')

/** The names of an interface's own properties. */
function fieldsOf(name: string): string[] {
  const body = DECLARATIONS.match(new RegExp(`export interface ${name}\\b[^{]*{([^]*?)^}`, 'm'))?.[1] ?? ''
  return [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??:/gm)].map(match => match[1])
}

const CHAT = [{ role: 'user', content: 'What is 12 + 7?' }]
const TOOL = { type: 'function', function: { name: 'f' } }
const BEGUN = { role: 'assistant', content: '12 + 7 =' }
/** A prompt with several likely continuations. */
const HOT = { messages: undefined, prompt: 'Once', temperature: 2, seed: 1, ignoreEos: true }

/** The visible parts of an answer. */
const shown = ({ text, finishReason, usage }: GenerateResult) => ({ text, finishReason, usage })

/** Compares two requests that differ in one field. */
function differing(field: object, common: object = {}) {
  return async () => {
    const { engine, model } = await withMlx()
    const ask = (more: object) =>
      engine.generate({ model, messages: CHAT, temperature: 0, maxTokens: 60, ...common, ...more } as GenerateParams)
    expect(shown(await ask(field))).not.toEqual(shown(await ask({})))
  }
}

/** A request that is refused because of one field: the template of the demo model does not support it. */
function refusing(field: object, param: string) {
  return async () => {
    const { engine, model } = await withMlx()
    const error = await failure(engine.generate({ model, messages: CHAT, ...field } as GenerateParams))
    expect(error).toMatchObject({ code: 'InvalidParams', param })
  }
}

/** Aborts a running generation. */
async function aborted(options: GenerateOptions): Promise<unknown> {
  const { engine, model }: Ready = await simulated(M3_MAX)
  const controller = new AbortController()
  const signal = controller.signal
  const generation = engine.generate({ ...ENDLESS, model }, { signal, ...options })
  await until(() => engine.stats().running === 1)
  controller.abort(new Error('aborted'))
  return generation.then(({ finishReason }) => finishReason)
}

/** The `served` of a repeated request with these params. */
async function servedWith(params: Partial<GenerateParams>): Promise<string> {
  const { engine, model } = await sharing()
  const ask = (more: object) => engine.generate({ model, prompt: 'Hello', maxTokens: 4, ...more } as GenerateParams)
  await ask({})
  expect((await ask({})).served).toBe('cached')
  return (await ask(params)).served
}

const PARAMS: Record<string, () => Promise<unknown>> = {
  model: async () => {
    const { engine } = await simulated()
    const error = await failure(engine.generate({ model: 'another', prompt: 'Hello' }))
    expect(error.code).toBe('ModelNotLoaded')
  },
  prompt: differing({ messages: undefined, prompt: 'Paris is' }),
  messages: differing({ messages: [{ role: 'user', content: 'What is the capital of France?' }] }),
  tools: differing({ tools: [TOOL] }),
  toolChoice: differing({ toolChoice: 'none' }, { tools: [TOOL] }),
  parallelToolCalls: async () => {
    const { engine, model } = await withMlx()
    const generation = engine.generate({ model, messages: CHAT, parallelToolCalls: false })
    expect((await failure(generation)).param).toBe('parallelToolCalls')
  },
  templateVariables: refusing({ templateVariables: { mood: 'calm' } }, 'templateVariables.mood'),
  specialTokens: differing({ specialTokens: 'all' }, { messages: [{ role: 'user', content: 'a<|end|>b' }] }),
  continueFinalMessage: differing({ continueFinalMessage: true }, { messages: [...CHAT, BEGUN] }),
  maxTokens: differing({ maxTokens: 2 }),
  temperature: differing({ temperature: 1 }, HOT),
  topP: differing({ topP: 0.1 }, HOT),
  topK: differing({ topK: 1 }, HOT),
  minP: differing({ minP: 1 }, HOT),
  repetitionPenalty: differing({ repetitionPenalty: 5 }),
  repetitionContextTokens: differing({ repetitionContextTokens: 1 }, { repetitionPenalty: 5 }),
  presencePenalty: differing({ presencePenalty: 2 }, HOT),
  frequencyPenalty: differing({ frequencyPenalty: 2 }, HOT),
  logitBias: differing({ logitBias: { 7: 100 } }),
  logprobs: async () => {
    const { engine, model } = await withMlx()
    const { logprobs } = await engine.generate({ model, messages: CHAT, maxTokens: 1, logprobs: 2 })
    expect(logprobs?.[0].top).toHaveLength(2)
  },
  seed: differing({ seed: 2 }, HOT),
  structured: differing({ structured: { regex: '[a-z ]{5}' } }),
  n: async () => {
    const { engine, model } = await simulated()
    expect((await engine.generate({ model, prompt: 'Hello', n: 2 })).choices?.length).toBe(2)
  },
  stopSequences: differing({ stopSequences: ['1'] }),
  includeStop: differing({ includeStop: true }, { stopSequences: ['1'] }),
  stopTokenIds: differing({ stopTokenIds: Array.from({ length: 100 }, (_, id) => id) }),
  ignoreEos: differing({ ignoreEos: true }),
  minTokens: differing({ minTokens: 59 }),
  cache: async () => expect(await servedWith({ cache: 'off' })).toBe('computed'),
  cacheSalt: async () => expect(await servedWith({ cacheSalt: 'other' })).toBe('computed'),
}

const OPTIONS: Record<string, () => Promise<unknown>> = {
  signal: async () => expect((await failure(aborted({}))).message).toBe('aborted'),
  onAbort: async () => expect(await aborted({ onAbort: 'stop' })).toBe('cancelled'),
  timeoutMs: async () => {
    const { engine, model } = await simulated(M3_MAX)
    const error = await failure(engine.generate({ ...ENDLESS, model }, { timeoutMs: 20 }))
    expect(error.code).toBe('Timeout')
  },
  id: async () => {
    const { engine, model } = await simulated()
    expect((await engine.generate({ model, prompt: 'Hello', maxTokens: 1 }, { id: 'mine' })).id).toBe('mine')
  },
  onProgress: async () => {
    const { engine, model } = await simulated()
    const reports: number[] = []
    const onProgress = ({ processedTokens }: { processedTokens: number }) => void reports.push(processedTokens)
    const { usage } = await engine.generate({ model, prompt: 'Hello', maxTokens: 1 }, { onProgress })
    expect(reports).toEqual([usage.inputTokens])
  },
  priority: async () => {
    expect(await orderOf({ one: {}, two: {} })).toEqual(['one', 'two'])
    expect(await orderOf({ one: {}, two: { priority: 'urgent' } })).toEqual(['two', 'one'])
  },
  tenant: async () => {
    expect(await orderOf({ one: {}, two: {}, three: {} })).toEqual(['one', 'two', 'three'])
    expect(await orderOf({ one: {}, two: {}, three: { tenant: 'other' } })).toEqual(['one', 'three', 'two'])
  },
}

test('every declared param and option has a test here', () => {
  const params = ['SamplingOptions', 'ChatOptions', 'PromptParams', 'MessagesParams'].flatMap(fieldsOf)
  expect([...new Set(params)].sort()).toEqual(Object.keys(PARAMS).sort())
  expect(fieldsOf('GenerateOptions').sort()).toEqual(Object.keys(OPTIONS).sort())
})

test.each(Object.entries(PARAMS))('param %s has an effect', async (_, show) => {
  await show()
})
test.each(Object.entries(OPTIONS))('option %s has an effect', async (_, show) => {
  await show()
})
