// The public types of mlx-serving/langchain, a chat model of LangChain.js. lib/langchain/ implements them. They need the package
// `@langchain/core`, version 1. langchain.d.mts has the same text, because LangChain has other types for ES modules.

import type { BaseLanguageModelInput } from '@langchain/core/language_models/base'
import type {
  BaseChatModelCallOptions,
  BaseChatModelParams,
  BindToolsInput,
} from '@langchain/core/language_models/chat_models'
import { BaseChatModel } from '@langchain/core/language_models/chat_models'
import type { ModelProfile } from '@langchain/core/language_models/profile'
import type { AIMessageChunk, BaseMessage, MessageContent } from '@langchain/core/messages'
import type { ChatGenerationChunk, ChatResult } from '@langchain/core/outputs'
import type { Runnable } from '@langchain/core/runnables'
import type {
  ChatOptions,
  Engine,
  GenerateOptions,
  LoadModelOptions,
  ModelHandle,
  SamplingOptions,
  Structured,
  Tool,
} from './index.js'

/**
 * Params of the answers of a {@link ChatMlx}. They mean the same as in `engine.generate`. `cache` is missing, because LangChain
 * has an option of this name.
 */
export interface ChatMlxParams
  extends Omit<SamplingOptions, 'model' | 'n' | 'structured' | 'cache'>,
    Pick<ChatOptions, 'parallelToolCalls' | 'continueFinalMessage' | 'templateVariables' | 'specialTokens'>,
    Pick<GenerateOptions, 'timeoutMs' | 'priority' | 'tenant'> {}

/** Options of a {@link ChatMlx}. */
export interface ChatMlxInput extends BaseChatModelParams, ChatMlxParams {
  /**
   * What `engine.loadModel` takes: a folder, a name of the Hugging Face hub, the id of a loaded model, or options; or the
   * handle of a loaded model of `engine`. The first request loads it.
   *
   * @default the bundled model
   */
  model?: string | Omit<LoadModelOptions, 'signal'> | ModelHandle | undefined
  /** The engine that runs the model. @default one engine with default options for the process, started when needed */
  engine?: Engine | undefined
}

/**
 * Options of one call of a {@link ChatMlx}, which override those of the model. An unknown option has no effect, and
 * `response_metadata.warnings` of the answer says so.
 */
export interface ChatMlxCallOptions extends BaseChatModelCallOptions, ChatMlxParams {
  /** The tools that the answer may call. `bindTools` takes those of LangChain. */
  tools?: Tool[]
  /** `'auto'`, `'none'`, `'any'` or `'required'`, or the name of a tool. The last three are enforced. */
  tool_choice?: 'auto' | 'none' | 'any' | 'required' | (string & {}) | { type: 'function'; function: { name: string } }
  /** The form that the answer must have. `withStructuredOutput` sets it. Stop sequences are left out then, with a warning. */
  structured?: Structured
  /** The form of the answer as OpenAI's API has it. Enforced as `structured`, which it excludes. `providerStrategy` sets it. */
  response_format?:
    | { type: 'text' | 'json_object' }
    | { type: 'json_schema'; json_schema: { name?: string; description?: string; schema: object; strict?: boolean } }
}

/**
 * A chat model of LangChain.js that runs in this process, without HTTP. Answers can be streamed, call tools, and match a schema,
 * which is enforced at every token.
 *
 * `Overloaded` and `BackendError` are tried again up to `maxRetries` times, after the time that the engine says. Then, and for
 * all other errors, a call rejects with the error of the engine.
 *
 * @example
 * const model = new ChatMlx({ model: 'mlx-community/Qwen3-4B-4bit', temperature: 0.7 })
 * const { text } = await model.invoke('Why is the sky blue?')
 */
export declare class ChatMlx extends BaseChatModel<ChatMlxCallOptions, AIMessageChunk> {
  /** @throws {@link ConfigError} `engine` is not an engine; `InvalidParamsError`: an option is unknown */
  constructor(fields?: ChatMlxInput)
  /** The engine of this model, started if it was not. */
  engine(): Promise<Engine>
  /** What `createAgent` reads: a `responseFormat` without a strategy is enforced as an answer, not asked for as a tool call. */
  get profile(): ModelProfile
  /** The tokens of a text, or of the texts among parts, as this model counts them, without those that start a prompt. */
  getNumTokens(content: MessageContent): Promise<number>
  _llmType(): string
  _generate(messages: BaseMessage[], options: this['ParsedCallOptions']): Promise<ChatResult>
  _streamResponseChunks(
    messages: BaseMessage[],
    options: this['ParsedCallOptions'],
    runManager?: { handleLLMNewToken(...args: never[]): Promise<void> },
  ): AsyncGenerator<ChatGenerationChunk>
  /** The model with tools that its answers may call. `options` may have a `tool_choice`. */
  bindTools(
    tools: BindToolsInput[],
    options?: Partial<ChatMlxCallOptions>,
  ): Runnable<BaseLanguageModelInput, AIMessageChunk, ChatMlxCallOptions>
}
