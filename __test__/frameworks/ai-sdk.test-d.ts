// The types of mlx-serving/ai-sdk are assignable to those of the AI SDK, and each setting of the AI SDK is known.

import type { LanguageModelV4, LanguageModelV4CallOptions, ProviderV4, SharedV4ProviderOptions } from '@ai-sdk/provider'
import { createProviderRegistry, generateText, type LanguageModel, wrapLanguageModel } from 'ai'
import { createEngine } from 'mlx-serving'
import { createMlx, type MlxLanguageModel, type MlxProviderOptions, mlx } from 'mlx-serving/ai-sdk'

export const provider: ProviderV4 = mlx
export const model: LanguageModelV4 = mlx()
export const accepted: LanguageModel = mlx('name')
export const options: SharedV4ProviderOptions = {
  mlx: { minP: 0.1, logitBias: { 5: -1 } } satisfies MlxProviderOptions,
}

/** A setting that the AI SDK adds is an error here. Then lib/ai-sdk/request.ts must read it or warn about it. */
export const settings: Record<keyof LanguageModelV4CallOptions, true> = {
  prompt: true,
  maxOutputTokens: true,
  temperature: true,
  stopSequences: true,
  topP: true,
  topK: true,
  presencePenalty: true,
  frequencyPenalty: true,
  responseFormat: true,
  seed: true,
  tools: true,
  toolChoice: true,
  includeRawChunks: true,
  abortSignal: true,
  // For providers over HTTP.
  headers: true,
  reasoning: true,
  providerOptions: true,
}

export async function uses(): Promise<void> {
  const engine = await createEngine()
  await using own = createMlx({ engine })
  const handle = await engine.loadModel()
  const models: MlxLanguageModel[] = [own(), own(handle), own({ path: '/models/one', toolPrompt: 'hermes' })]
  await generateText({ model: models[0], prompt: 'Hello' })
  await generateText({ model: createProviderRegistry({ own }).languageModel('own:demo'), prompt: 'Hello' })
  wrapLanguageModel({ model: own(), middleware: {} })
  // @ts-expect-error a request has the signal
  own({ path: '/models/one', signal: AbortSignal.timeout(1) })
  // @ts-expect-error unknown option
  createMlx({ baseURL: '' })
  // @ts-expect-error one constraint
  ;({ structured: { schema: {} } }) satisfies MlxProviderOptions
  // @ts-expect-error there are no embeddings
  own.embeddingModel('one').doEmbed
}
