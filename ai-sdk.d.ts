// The public types of mlx-serving/ai-sdk, a provider of the AI SDK (the package `ai`, version 7). lib/ai-sdk/ implements them.
// They are written without those of `@ai-sdk/provider`, so that a project needs no package besides `ai`;
// `__test__/ai-sdk-types.test-d.ts` compares them.

import type {
  ChatOptions,
  Engine,
  EngineOptions,
  GenerateOptions,
  LoadModelOptions,
  ModelHandle,
  SamplingOptions,
} from './index'

/**
 * Makes a provider of the AI SDK, whose models run in this process: `generateText`, `streamText` and agents call the engine
 * directly, without HTTP. Nothing is started or loaded before the first request.
 *
 * @throws {@link ConfigError} an option is unknown, or both options are given
 *
 * @example
 * const mlx = createMlx({ engineOptions: { preset: 'throughput' } })
 * const { text } = await generateText({ model: mlx('mlx-community/Qwen3-4B-4bit'), prompt: 'Why is the sky blue?' })
 */
export declare function createMlx(options?: MlxProviderSettings): MlxProvider

/**
 * A provider with default options. Its engine is the one of the process for all frameworks, and starts with the first request.
 */
export declare const mlx: MlxProvider

/** Options of {@link createMlx}. */
export interface MlxProviderSettings {
  /** The engine that runs the models, to share it with other code. @default an engine of the provider, started when needed */
  engine?: Engine | undefined
  /** Options of the provider's own engine, in place of `engine`. @default those of `createEngine` */
  engineOptions?: EngineOptions | undefined
}

/** A model as the provider takes it: a name, options to load it with, or the handle of a loaded model of `engine`. */
export type MlxModel = string | Omit<LoadModelOptions, 'signal'> | ModelHandle

/** A provider of the AI SDK. It can be registered with `createProviderRegistry`. */
export interface MlxProvider extends AsyncDisposable {
  /** The same as {@link MlxProvider.languageModel}. */
  (model?: MlxModel): MlxLanguageModel
  readonly specificationVersion: 'v4'
  /**
   * A language model. Its first request loads it, unless it is loaded. An unloaded model is loaded again by its next request.
   *
   * A string is what `engine.loadModel` takes: a folder, a name of the Hugging Face hub, or the id of a loaded model.
   *
   * @default the bundled model
   */
  languageModel(model?: MlxModel): MlxLanguageModel
  /** @throws `NoSuchModelError`: the engine runs no embedding models */
  embeddingModel(modelId: string): never
  /** @throws `NoSuchModelError`: the engine runs no embedding models */
  textEmbeddingModel(modelId: string): never
  /** @throws `NoSuchModelError`: the engine runs no image models */
  imageModel(modelId: string): never
  /**
   * The engine of the provider, started if it was not: for `stats()`, or to load a model before its first request.
   *
   * @throws {@link ConfigError} `engineOptions` are wrong; and what else `createEngine` throws
   */
  engine(): Promise<Engine>
  /**
   * Ends the provider's own engine, if it was started; its models then fail with `EngineClosed`. An `engine` that was passed
   * goes on.
   */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * The options in `providerOptions.mlx` of a request. They mean the same as in `engine.generate`.
 *
 * @example
 * await generateText({ model, prompt, providerOptions: { mlx: { minP: 0.05, tenant: 'acme' } satisfies MlxProviderOptions } })
 */
export type MlxProviderOptions = Pick<
  SamplingOptions,
  | 'minP'
  | 'repetitionPenalty'
  | 'repetitionContextTokens'
  | 'logitBias'
  | 'logprobs'
  | 'minTokens'
  | 'ignoreEos'
  | 'includeStop'
  | 'cache'
  | 'cacheSalt'
> &
  Pick<ChatOptions, 'parallelToolCalls' | 'continueFinalMessage' | 'specialTokens'> &
  Pick<GenerateOptions, 'timeoutMs' | 'priority' | 'tenant'> & {
    /** As {@link SamplingOptions.stopTokenIds}. */
    stopTokenIds?: number[] | undefined
    /** As {@link ChatOptions.templateVariables}: for example `{ enable_thinking: false }`. */
    templateVariables?: { [name: string]: MlxJson } | undefined
    /** As {@link SamplingOptions.structured}, without `schema`: for a schema use `Output.object` of the AI SDK. */
    structured?: { regex: string } | { grammar: string } | { choices: string[] } | undefined
  }

/** A language model of the AI SDK, `LanguageModelV4`. Pass it to `generateText`, `streamText` or an agent as `model`. */
export interface MlxLanguageModel {
  readonly specificationVersion: 'v4'
  readonly provider: string
  /** The name that the model was asked for with; `'demo'` for the bundled model. */
  readonly modelId: string
  /** Empty: models take text only. */
  readonly supportedUrls: { [mediaType: string]: RegExp[] }
  /** Called by the AI SDK. `options` are `LanguageModelV4CallOptions`. */
  doGenerate(options: object): Promise<MlxGenerateResult>
  /**
   * Called by the AI SDK. `options` are `LanguageModelV4CallOptions`. Resolves with the first chunk, so that an error before it
   * is a rejection, which the AI SDK can retry.
   */
  doStream(options: object): Promise<MlxStreamResult>
}

/** A whole answer, as the AI SDK takes it. */
export interface MlxGenerateResult {
  content: MlxContent[]
  finishReason: MlxFinishReason
  usage: MlxUsage
  providerMetadata: MlxProviderMetadata
  request: { body: unknown }
  response: { id: string; timestamp: Date; modelId: string }
  warnings: MlxWarning[]
}

/** A streamed answer, as the AI SDK takes it. */
export interface MlxStreamResult {
  stream: ReadableStream<MlxStreamPart>
  request: { body: unknown }
}

/** A JSON value. */
export type MlxJson = null | string | number | boolean | { [key: string]: MlxJson } | MlxJson[]

/** A part of an answer. */
export type MlxContent =
  | { type: 'text'; text: string }
  | { type: 'reasoning'; text: string }
  | { type: 'tool-call'; toolCallId: string; toolName: string; input: string }

/** A part of a stream. */
export type MlxStreamPart =
  | { type: 'stream-start'; warnings: MlxWarning[] }
  | { type: 'response-metadata'; id: string; timestamp: Date; modelId: string }
  | { type: 'text-start' | 'text-end' | 'reasoning-start' | 'reasoning-end'; id: string }
  | { type: 'text-delta' | 'reasoning-delta'; id: string; delta: string }
  | { type: 'tool-input-start'; id: string; toolName: string }
  | { type: 'tool-input-delta'; id: string; delta: string }
  | { type: 'tool-input-end'; id: string }
  | { type: 'tool-call'; toolCallId: string; toolName: string; input: string }
  | { type: 'raw'; rawValue: unknown }
  | { type: 'error'; error: unknown }
  | { type: 'finish'; usage: MlxUsage; finishReason: MlxFinishReason; providerMetadata?: MlxProviderMetadata }

/** Why an answer ended. `raw` is the `finishReason` of the engine. */
export interface MlxFinishReason {
  unified: 'stop' | 'length' | 'tool-calls' | 'error' | 'other'
  raw: string | undefined
}

/** Token counts of a request. `cacheRead` are tokens of the prompt that were not computed for it. */
export interface MlxUsage {
  inputTokens: {
    total: number | undefined
    noCache: number | undefined
    cacheRead: number | undefined
    cacheWrite: undefined
  }
  outputTokens: { total: number | undefined; text: number | undefined; reasoning: number | undefined }
  /** `usage` of the engine. */
  raw?: { [key: string]: number }
}

/**
 * `providerMetadata` of an answer. `mlx` has `served`, `seed`, `timings`, and where they exist `sharedFrom`, `logprobs` and
 * `warnings` of the result of `engine.generate`.
 */
export interface MlxProviderMetadata {
  [provider: string]: { [key: string]: MlxJson }
  mlx: { [key: string]: MlxJson }
}

/** A warning: a setting that has no effect, or a problem of the answer. */
export type MlxWarning = { type: 'unsupported'; feature: string; details: string } | { type: 'other'; message: string }
