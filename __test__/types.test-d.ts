// Checks lib/ against index.d.ts, and index.d.ts against the code of users. The compiler is the test: types.test.ts runs it.

import type * as declared from '../index'
import {
  createEngine,
  type Engine,
  type GenerateChunk,
  type GenerateResult,
  MlxServingError,
  type ModelHandle,
} from '../index'
import type * as built from '../lib/index'

type Extends<A, B> = [A] extends [B] ? true : false
type Assert<T extends true> = T

export type BuiltIsDeclared = Assert<Extends<typeof built, typeof declared>>
export type DeclaredIsBuilt = Assert<Extends<typeof declared, typeof built>>

declare const engine: Engine
declare const model: ModelHandle

export async function awaits(): Promise<GenerateResult[]> {
  const [first, second] = await Promise.all([
    engine.generate({ model, prompt: 'a' }),
    engine.generate({ model: model.id, messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }] }] }),
  ])
  return [first, second]
}

export async function odds(): Promise<number | undefined> {
  const { logprobs } = await engine.generate({ model, prompt: 'a', logprobs: 2 })
  const { token, tokenId, bytes = [], logprob } = logprobs?.[0].top[1] ?? { token: '', tokenId: 0, logprob: 0 }
  return token.length + tokenId + bytes[0] + logprob
}

export function listens(): Engine {
  engine.once('model:loaded', ({ model, durationMs }) => model.id.repeat(durationMs))
  engine.on('error', ({ code, message }) => `${code} ${message}`)
  // @ts-expect-error there is no such event
  engine.on('model:load', () => {})
  // @ts-expect-error the event has no such field
  engine.on('runtime:status', ({ state }) => state)
  return engine.on('generation:completed', ({ id, result }) => id + result?.usage.outputTokens)
}

export async function scripts(): Promise<Engine[]> {
  const listed = await createEngine({
    backend: {
      simulated: 'instant',
      onUnmatched: 'simulate',
      answers: [
        { match: /capital/, text: 'Paris.', times: Number.POSITIVE_INFINITY },
        { match: ({ text, params }) => text === '' && params.tools === undefined, errorAfterTokens: 2 },
        {
          toolCalls: [{ name: 'add', arguments: { a: 1 } }, { name: 'now' }],
          reasoning: 'Hm.',
          finishReason: 'length',
        },
      ],
    },
  })
  const answered = await createEngine({
    backend: {
      simulated: 'instant',
      answers: ({ text, messages }) => (text === '' ? undefined : { text: `You said ${messages.at(-1)?.content}` }),
    },
  })
  return [listed, answered]
}

export async function* iterates(): AsyncGenerator<GenerateChunk> {
  await using generation = engine.generate(
    { model, prompt: { tokens: [1] }, seed: 1 },
    { timeoutMs: 1, onAbort: 'stop' },
  )
  yield* generation
  for await (const chunk of generation.toReadableStream()) yield chunk
}

/** As a server does that speaks the OpenAI API. */
export async function ends(): Promise<string | number | undefined> {
  const tools = [{ type: 'function', function: { name: 'go' } }] as const
  const toolChoice = { type: 'function', function: { name: 'go' } } as const
  const generation = engine.generate({ model, messages: [], tools, toolChoice })
  for await (const { finishReason, toolCalls = [] } of generation) {
    if (toolCalls.some(call => call.isComplete)) return finishReason
  }
  const { usage } = await generation
  return generation.id.length + usage.totalTokens - usage.reasoningTokens
}

export async function items(): Promise<string> {
  let text = ''
  for await (const item of engine.createGenerator({ model, prompt: 'a' })) {
    if (item.type === 'token') text += item.token
    else text += item.result.timings.tokensPerSecond
  }
  return text
}

/** A schema made by zod, and one with the types of json-schema. */
interface JsonSchema {
  [keyword: string]: unknown
  type?: 'object'
  properties?: Record<string, JsonSchema | boolean>
}
interface JsonSchema7 {
  $ref?: string
  items?: JsonSchema7 | boolean | JsonSchema7[]
}
interface Place {
  city: string
  near?: Place
}
declare const schema: JsonSchema
declare const schema7: JsonSchema7
declare const place: Place

export async function takesSchemasOfOthers(): Promise<Place | undefined> {
  await engine.generate({ model, prompt: 'a', structured: { schema: schema7 } })
  await engine.generate({ model, prompt: { template: '{{ place.city }}', variables: { place } } })
  const tools = [{ type: 'function' as const, strict: true, function: { name: 'go', parameters: schema } }]
  const calls = [{ function: { name: 'go', arguments: place } }]
  const messages = [{ role: 'assistant', toolCalls: calls }]
  const { parsed } = await engine.generate<Place>({ model, messages, tools, structured: { schema } })
  return parsed
}

export function takesWhatIsReadonly(): void {
  const lists = { stopSequences: ['a'], stopTokenIds: [1], structured: { choices: ['a'] } } as const
  const messages = [{ role: 'user', content: [{ type: 'text', text: 'a' }] }] as const
  const tools = [{ type: 'function', function: { name: 'go', parameters: { required: ['city'] } } }] as const
  engine.generate({ model, messages, tools, ...lists })
  engine.generate({ model, prompt: { tokens: [1] } as const })
  engine.applyChatTemplate({ model, messages, tools })
  engine.detokenize({ model, tokens: [1] as const })
}

export async function takesUndefinedForAbsent(signal?: AbortSignal, maxTokens?: number, path?: string): Promise<void> {
  const { text, reasoning, toolCalls } = await engine.generate({ model, prompt: 'a', maxTokens }, { signal })
  const said = { role: 'assistant', content: text, reasoning, toolCalls, name: undefined }
  engine.generate({ model, messages: [said], tools: undefined, structured: undefined })
  engine.loadModel({ path })
  engine.shutdown({ drainMs: undefined })
  engine.cache.configure({ dedup: undefined, promptCache: { path } })
  createEngine({ preset: undefined, scheduler: { batchSize: maxTokens, autoTune: undefined } })
  new MlxServingError('Overloaded', 'full', { param: path, limit: maxTokens })
}

export function readsFigures(): number {
  const { errors, rejected, cache, steps, models } = engine.stats()
  const { value, source, variable } = engine.config()['memory.kvBytes']
  const refused: number = errors.Overloaded ?? rejected.pending + rejected.wait + rejected.tokens + rejected.prompts
  const limit = typeof value === 'number' && source !== 'option' && variable !== undefined ? value : 0
  createEngine({ scheduler: { maxPending: refused + 1, maxPendingTokens: limit, maxStepMs: 60 } })
  return steps + cache.sharedRatio + models.length
}

export function isRejected(): void {
  // @ts-expect-error: no error code
  engine.stats().errors.Busy
  // @ts-expect-error: statistics cannot be changed
  engine.stats().errors.Timeout = 0
  // @ts-expect-error: exactly one of prompt and messages
  engine.generate({ model, prompt: 'a', messages: [] })
  // @ts-expect-error: one of prompt and messages
  engine.generate({ model })
  // @ts-expect-error: an unknown option
  engine.generate({ model, prompt: 'a', beams: 4 })
  // @ts-expect-error: a schema is an object
  engine.generate({ model, prompt: 'a', structured: { schema: 'object' } })
  // @ts-expect-error: parameters are an object
  engine.generate({ model, messages: [], tools: [{ type: 'function', function: { name: 'go', parameters: true } }] })
  // @ts-expect-error: undefined is not a model
  engine.generate({ model: undefined, prompt: 'a' })
  // @ts-expect-error: only the engine makes handles
  model.state = 'unloaded'
}
