// The engine as users hold it: opens and closes the native one, and hands each call to the file that owns it.
// No generation logic (lib/generation.ts), no delivery (lib/hub.ts), no model bookkeeping (lib/models.ts).

import type {
  ChatTemplateParams,
  DetokenizeParams,
  Engine,
  EngineOptions,
  EngineStats,
  GenerateOptions,
  GenerateParams,
  Generation,
  GeneratorItem,
  LoadModelOptions,
  ModelHandle,
  ShutdownOptions,
  TokenizeParams,
} from '../index'
import { errorOf, type MlxServingError, unwrap } from './errors'
import { stopAtExit } from './exit'
import { AnswerGeneration, answerTo, type Host } from './generation'
import { itemsOf } from './generator'
import { Hub } from './hub'
import { demoModel, loadAddon } from './load'
import { Models } from './models'
import type { NativeError } from './native'
import { isAbsent, type Properties, read, reading, readKnown, readMs, readString, readTokens } from './options'

const DEFAULT_BUFFER_TOKENS = 256
const DEFAULT_DRAIN_MS = 30_000

export async function createEngine(options?: EngineOptions): Promise<Engine> {
  const { bufferTokens, properties } = configuring(() => readEngineOptions(options))
  const hub = new Hub(loadAddon(), bufferTokens)
  const forget = stopAtExit(hub.native)
  try {
    const start = () => configuring(() => reading('options', () => hub.native.start(properties)))
    unwrap(await hub.keepAlive.during(async () => start()))
  } catch (error) {
    forget()
    hub.native.stop()
    throw error
  }
  return new NodeEngine(hub, forget)
}

class NodeEngine implements Engine, Host {
  readonly hub: Hub
  readonly #models: Models
  /** Takes the engine out of what is stopped at exit. */
  readonly #forget: () => void
  #closed: Promise<void> | undefined

  constructor(hub: Hub, forget: () => void) {
    this.hub = hub
    this.#models = new Models(hub.native)
    this.#forget = forget
  }

  generate(params: GenerateParams, options?: GenerateOptions): Generation {
    return new AnswerGeneration(answerTo(this, params, options))
  }

  createGenerator(params: GenerateParams, options?: GenerateOptions): AsyncGenerator<GeneratorItem, void, undefined> {
    return itemsOf(() => answerTo(this, params, options))
  }

  async loadModel(model?: string | LoadModelOptions): Promise<ModelHandle> {
    this.#assertOpen()
    const path = typeof model === 'string' ? model : readKnown(model, 'options', ['path']).path
    const folder = isAbsent(path) ? demoModel() : readString(path, 'path')
    return this.hub.keepAlive.during(() => this.#models.load(folder))
  }

  async unloadModel(model: ModelHandle | string): Promise<void> {
    this.#assertOpen()
    return this.hub.keepAlive.during(() => this.#models.unload(model))
  }

  listModels(): ModelHandle[] {
    this.#assertOpen()
    return this.#models.list()
  }

  getModelInfo(model: ModelHandle | string): ModelHandle | undefined {
    this.#assertOpen()
    return this.#models.find(model)
  }

  async tokenize(params: TokenizeParams): Promise<Uint32Array> {
    const { model, text } = readKnown(params, 'params', ['model', 'text'])
    const key = this.keyOf(model)
    const read = readString(text, 'text')
    return this.#ask(() => this.hub.native.tokenize(key, read))
  }

  async detokenize(params: DetokenizeParams): Promise<string> {
    const { model, tokens } = readKnown(params, 'params', ['model', 'tokens'])
    const key = this.keyOf(model)
    const read = readTokens(tokens, 'tokens', this.#models.vocabSizeOf(key))
    return this.#ask(() => this.hub.native.detokenize(key, read))
  }

  async applyChatTemplate(params: ChatTemplateParams): Promise<string> {
    const { model, messages } = readKnown(params, 'params', ['model', 'messages'])
    const key = this.keyOf(model)
    return this.#ask(() => reading('messages', () => this.hub.native.applyChatTemplate(key, messages)))
  }

  stats(): EngineStats {
    this.#assertOpen()
    return this.hub.native.stats()
  }

  async shutdown(options?: ShutdownOptions): Promise<void> {
    const drainMs = readMs(readKnown(options, 'options', ['drainMs']).drainMs, 'drainMs', DEFAULT_DRAIN_MS)
    if (this.#closed === undefined) this.#closed = this.hub.keepAlive.during(() => this.#close(drainMs))
    // It may have to end sooner than was asked for first; how it went is the first call's to tell.
    else this.hub.native.shutdown(drainMs).catch(() => {})
    return this.#closed
  }

  dispose(): Promise<void> {
    return this.shutdown({ drainMs: 0 })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  /** The address of a `model` param. */
  keyOf(model: unknown): number {
    this.#assertOpen()
    return this.#models.keyOf(model)
  }

  async #close(drainMs: number): Promise<void> {
    try {
      unwrap(await this.hub.native.shutdown(drainMs))
    } finally {
      // The last answers may lie there with their wake still on its way.
      this.hub.deliver()
      this.hub.failAll(closed())
      this.#models.close()
      this.#forget()
    }
  }

  #ask<T>(question: () => Promise<T | NativeError>): Promise<T> {
    return this.hub.keepAlive.during(async () => unwrap(await question()))
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) throw closed()
  }
}

function closed(): Error {
  return errorOf('EngineClosed', 'the engine is shut down')
}

/** The options as the addon reads them, and the one that is used on this side too. */
function readEngineOptions(options: unknown): { properties: Properties; bufferTokens: number } {
  const properties = read(options, 'options')
  for (const [group, value] of Object.entries(properties)) {
    if (typeof value === 'object' && value !== null) properties[group] = read(value, group)
  }
  const { bufferTokens } = (properties.streaming ?? {}) as Properties
  // What is not a count is rejected by the addon.
  const isCount = typeof bufferTokens === 'number' && bufferTokens >= 1
  return { properties, bufferTokens: isCount ? bufferTokens : DEFAULT_BUFFER_TOKENS }
}

/** Runs what reads the options of an engine: what is wrong with them is a `ConfigError`. */
function configuring<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { message, param, cause } = error as MlxServingError
    throw errorOf('ConfigError', message, { ...(param && { param }), cause })
  }
}
