// The chat model of LangChain: each call is one request to the engine. LangChain makes the attempts after an error.

import type { CallbackManagerForLLMRun } from '@langchain/core/callbacks/manager'
import type { BaseLanguageModelInput, StructuredOutputMethodOptions } from '@langchain/core/language_models/base'
import type { BindToolsInput } from '@langchain/core/language_models/chat_models'
import type { ChatModelStreamEvent } from '@langchain/core/language_models/event'
import type { AIMessageChunk, BaseMessage, MessageContent } from '@langchain/core/messages'
import type { ChatGenerationChunk, ChatResult } from '@langchain/core/outputs'
import type { Runnable } from '@langchain/core/runnables'
import type { ChunkIterator, Engine, GenerateChunk, Generation, Tool } from '../../index'
import type { ChatMlxCallOptions, ChatMlxInput, ChatMlxParams, ChatMlx as PublicChatMlx } from '../../langchain'
import type { MlxServingError } from '../errors'
import { LazyEngine, readEngine, sharedEngine } from '../lazyengine'
import { LazyModel } from '../lazymodel'
import { isAbsent } from '../options'
import { retryStatusOf } from '../retryable'
import { type Asked, Chunks, resultOf } from './answers'
import { eventsOf, registerBlocks } from './blocks'
import type { Core } from './core'
import { messagesOf, textOf } from './messages'
import { paramsOf, requestOf } from './request'
import { plainSchema } from './schemas'

type Call = Partial<ChatMlxCallOptions>
/** The schemas of `withStructuredOutput`: of zod, of another library, or a JSON schema. */
type Schema = Parameters<Core['structuredOutput']['createContentParser']>[0]

// biome-ignore lint/suspicious/noExplicitAny: what it gives depends on `includeRaw`, in overloads of LangChain
type Structuring = Runnable<BaseLanguageModelInput, any>

interface Started {
  generation: Generation
  chunks: ChunkIterator
  first: IteratorResult<GenerateChunk, void>
  asked: Asked
}

/** The class on a build of LangChain. */
export function chatModelOf(core: Core): typeof PublicChatMlx {
  registerBlocks()
  return class ChatMlx extends core.BaseChatModel<ChatMlxCallOptions, AIMessageChunk> {
    readonly #engine: LazyEngine
    readonly #model: LazyModel
    readonly #params: ChatMlxParams

    static override lc_name(): string {
      return 'ChatMlx'
    }

    constructor(fields: ChatMlxInput = {}) {
      const { engine, model, ...base } = fields
      super(base)
      this.#params = paramsOf(fields)
      this.#engine = isAbsent(engine) ? sharedEngine : new LazyEngine(readEngine(engine))
      this.#model = new LazyModel(this.#engine, model)
    }

    engine(): Promise<Engine> {
      return this.#engine.get()
    }

    override _llmType(): string {
      return 'mlx'
    }

    /** What distinguishes this model in a cache of LangChain. */
    override _identifyingParams(): Record<string, unknown> {
      return { model: this.#model.name, ...this.#params }
    }

    override invocationParams(call: Call = {}): Record<string, unknown> {
      return { model: this.#model.name, ...requestOf(this.#params, call).params }
    }

    override getLsParams(call: this['ParsedCallOptions']) {
      const { temperature, maxTokens } = requestOf(this.#params, call).params
      return {
        ...super.getLsParams(call),
        ls_provider: 'mlx',
        ls_model_name: this.#model.name,
        ...(temperature !== undefined && { ls_temperature: temperature }),
        ...(maxTokens !== undefined && { ls_max_tokens: maxTokens }),
      }
    }

    override get profile() {
      return { structuredOutput: true, toolCalling: true }
    }

    override async getNumTokens(content: MessageContent): Promise<number> {
      const { engine, model } = await this.#model.ready()
      const [all, added] = await Promise.all([textOf(content), ''].map(text => engine.tokenize({ model, text })))
      return all.length - added.length
    }

    override async _generate(messages: BaseMessage[], call: this['ParsedCallOptions']): Promise<ChatResult> {
      const { params, options, warnings } = requestOf(this.#params, call)
      const request = { ...params, messages: messagesOf(messages) }
      return this.#attempt(call, async () => {
        const { engine, model, timeoutMs } = await this.#model.ready(call.signal, options.timeoutMs)
        const result = await engine.generate({ ...request, model }, { ...options, timeoutMs })
        return resultOf(core, result, { model: model.id, warnings })
      })
    }

    override async *_streamResponseChunks(
      messages: BaseMessage[],
      call: this['ParsedCallOptions'],
      runManager?: CallbackManagerForLLMRun,
    ): AsyncGenerator<ChatGenerationChunk> {
      const { generation, chunks, first, asked } = await this.#start(messages, call)
      const written = new Chunks(core, generation.id)
      try {
        for (let step = first; !step.done; step = await chunks.next()) {
          const chunk = written.of(step.value)
          if (chunk === undefined) continue
          yield chunk
          await report(chunk, runManager)
        }
        const last = written.end(await generation, asked)
        yield last
        await report(last, runManager)
      } finally {
        await chunks.return?.()
      }
    }

    /** LangChain's own conversion has no reasoning and no finish reason, and puts text and the first call into one block. */
    override _streamChatModelEvents(
      messages: BaseMessage[],
      call: this['ParsedCallOptions'],
      runManager?: CallbackManagerForLLMRun,
    ): AsyncGenerator<ChatModelStreamEvent> {
      return eventsOf(this._streamResponseChunks(messages, call, runManager))
    }

    /** Starts a streamed answer, up to its first chunk: until then, another attempt can be made. */
    async #start(messages: BaseMessage[], call: this['ParsedCallOptions']): Promise<Started> {
      const { params, options, warnings } = requestOf(this.#params, call)
      const request = { ...params, messages: messagesOf(messages) }
      return this.#attempt(call, async () => {
        const { engine, model, timeoutMs } = await this.#model.ready(call.signal, options.timeoutMs)
        const generation = engine.generate({ ...request, model }, { ...options, timeoutMs })
        const chunks = generation[Symbol.asyncIterator]()
        return { generation, chunks, first: await chunks.next(), asked: { model: model.id, warnings } }
      })
    }

    /** Runs the work until it succeeds, within LangChain's limits. Rejects with an error of the engine, or of the abort. */
    async #attempt<T>({ signal, maxRetries }: Call, work: () => Promise<T>): Promise<T> {
      const options = { ...(signal && { signal }), ...(maxRetries !== undefined && { maxRetries }) }
      const outcome = await this.caller
        .callWithOptions(options, () => attemptOf(work))
        .catch(error => {
          throw error instanceof RetryableError ? error.cause : error
        })
      if ('error' in outcome) throw outcome.error
      return outcome.value
    }

    override bindTools(tools: BindToolsInput[], options: Call = {}) {
      return this.withConfig({ ...options, tools: tools.map(tool => core.convertToOpenAITool(tool) as Tool) })
    }

    /** An answer of the form of a schema: as a text that is enforced, or with `functionCalling` as an enforced tool call. */
    override withStructuredOutput(schema: Schema, options: StructuredOutputMethodOptions<boolean> = {}): Structuring {
      const { name = schemaName(schema), method = 'jsonSchema', includeRaw } = options
      const { assembleStructuredOutputPipeline, createContentParser, createFunctionCallingParser } =
        core.structuredOutput
      const json = plainSchema(core.toJsonSchema(schema))
      const format = { ls_structured_output_format: { kwargs: { method }, schema: json } }
      const [model, parser] =
        method === 'functionCalling'
          ? [
              this.bindTools([toolOf(name, json)], { tool_choice: name, ...format }),
              createFunctionCallingParser(schema, name),
            ]
          : [this.withConfig({ structured: { schema: json }, ...format }), createContentParser(schema)]
      return assembleStructuredOutputPipeline(
        model as Runnable<BaseLanguageModelInput>,
        parser,
        includeRaw,
        'StructuredOutput',
      )
    }
  }
}

/** Passes a chunk to the callbacks of a run. */
async function report(chunk: ChatGenerationChunk, runManager?: CallbackManagerForLLMRun): Promise<void> {
  await runManager?.handleLLMNewToken(chunk.text, undefined, undefined, undefined, undefined, { chunk })
}

/** An error as LangChain's retries read it: with a status, and a time to wait. */
class RetryableError extends Error {
  readonly status: number
  readonly headers: Record<string, string>

  constructor(cause: MlxServingError, status: number) {
    super(cause.message, { cause })
    this.status = status
    this.headers = cause.retryAfterMs === undefined ? {} : { 'retry-after': String(cause.retryAfterMs / 1000) }
  }
}

/** LangChain retries after every error that it does not know. So an error that a retry cannot solve is returned as a value. */
async function attemptOf<T>(work: () => Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await work() }
  } catch (error) {
    const status = retryStatusOf(error)
    if (status === undefined) return { error }
    throw new RetryableError(error as MlxServingError, status)
  }
}

function schemaName(schema: Schema): string {
  const { title, name = title } = schema as { title?: unknown; name?: unknown }
  return typeof name === 'string' ? name : 'extract'
}

function toolOf(name: string, parameters: object): Tool {
  const { description } = parameters as { description?: string }
  return { type: 'function', function: { name, ...(description && { description }), parameters } }
}
