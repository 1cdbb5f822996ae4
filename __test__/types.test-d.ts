// Holds lib/ to index.d.ts, and index.d.ts to what its users write. The compiler is the test: types.test.ts runs it.

import type * as declared from '../index'
import type { Engine, GenerateChunk, GenerateResult, ModelHandle } from '../index'
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
  return logprobs?.[0].top[1].logprob
}

export async function* iterates(): AsyncGenerator<GenerateChunk> {
  await using generation = engine.generate(
    { model, prompt: { tokens: [1] }, seed: 1 },
    { timeoutMs: 1, onAbort: 'stop' },
  )
  yield* generation
  for await (const chunk of generation.toReadableStream()) yield chunk
}

export async function items(): Promise<string> {
  let text = ''
  for await (const item of engine.createGenerator({ model, prompt: 'a' })) {
    if (item.type === 'token') text += item.token
    else text += item.stats.timings.tokensPerSecond
  }
  return text
}

export function isRejected(): void {
  // @ts-expect-error: exactly one of prompt and messages
  engine.generate({ model, prompt: 'a', messages: [] })
  // @ts-expect-error: one of prompt and messages
  engine.generate({ model })
  // @ts-expect-error: an option that is not there
  engine.generate({ model, prompt: 'a', beams: 4 })
  // @ts-expect-error: a handle is the engine's to make
  model.state = 'unloaded'
}
