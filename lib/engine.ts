// The engine as users hold it: opens and closes the native one, and hands each call to the file that owns it.
// No generation logic (lib/generation.ts), no delivery (lib/hub.ts), no model bookkeeping (lib/models.ts).

import { totalmem } from 'node:os'
import type {
  CacheOptions,
  ChatTemplateParams,
  DetokenizeParams,
  Engine,
  EngineCache,
  EngineConfig,
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
import { Items } from './generator'
import { Hub } from './hub'
import { demoModel, loadAddon } from './load'
import { Models, pathOf } from './models'
import type { NativeError, NativeSetting } from './native'
import { isAbsent, read, reading, readKnown, readMs, readString, readText, readTokens, take } from './options'

const DEFAULT_DRAIN_MS = 30_000

export async function createEngine(options?: EngineOptions): Promise<Engine> {
  const hub = new Hub(loadAddon())
  const forget = stopAtExit(hub.native)
  try {
    const start = () =>
      configuring(() => reading('options', () => hub.native.start(options, environment(), memoryBytes())))
    const config = configOf(unwrap(await hub.keepAlive.during(async () => start())))
    warn(hub)
    hub.begin(config['streaming.bufferTokens'].value as number)
    return new NodeEngine(hub, forget, config)
  } catch (error) {
    forget()
    hub.native.close()
    throw error
  }
}

class NodeEngine implements Engine, Host {
  readonly hub: Hub
  readonly cache: EngineCache = {
    configure: options => this.#configureCache(options),
    clear: () => this.#clearCache(),
  }
  readonly #models: Models
  /** Takes the engine out of what is stopped at exit. */
  readonly #forget: () => void
  #config: EngineConfig
  #closed: Promise<void> | undefined

  constructor(hub: Hub, forget: () => void, config: EngineConfig) {
    this.hub = hub
    this.#config = config
    this.#models = new Models(hub.native)
    this.#forget = forget
  }

  generate<T>(params: GenerateParams, options?: GenerateOptions): Generation<T> {
    // What a parsed answer is called is the caller's word.
    return new AnswerGeneration(answerTo(this, params, options)) as Generation as Generation<T>
  }

  createGenerator<T>(
    params: GenerateParams,
    options?: GenerateOptions,
  ): AsyncGenerator<GeneratorItem<T>, void, undefined> {
    const items: AsyncGenerator<GeneratorItem, void, undefined> = new Items(() => answerTo(this, params, options))
    return items as AsyncGenerator<GeneratorItem<T>, void, undefined>
  }

  async loadModel(model?: string | LoadModelOptions): Promise<ModelHandle> {
    this.#assertOpen()
    const path = typeof model === 'string' ? model : pathOf(model)
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
    const read = readText(text, 'text')
    return this.#ask(() => this.hub.native.tokenize(key, read))
  }

  async detokenize(params: DetokenizeParams): Promise<string> {
    const { model, tokens } = readKnown(params, 'params', ['model', 'tokens'])
    const key = this.keyOf(model)
    const read = readTokens(tokens, 'tokens', this.#models.vocabSizeOf(key))
    return this.#ask(() => this.hub.native.detokenize(key, read))
  }

  async applyChatTemplate(params: ChatTemplateParams): Promise<string> {
    const chat = read(params, 'params')
    const key = this.keyOf(take(chat, 'model'))
    return this.#ask(() => reading('params', () => this.hub.native.applyChatTemplate(key, chat)))
  }

  stats(): EngineStats {
    this.#assertOpen()
    const { models, ...engine } = this.hub.native.stats()
    return { ...engine, models: this.#models.named(models) }
  }

  config(): EngineConfig {
    this.#assertOpen()
    return this.#config
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
      warn(this.hub)
      this.#models.close()
      this.#forget()
      this.hub.native.close()
    }
  }

  #configureCache(options: CacheOptions): void {
    this.#assertOpen()
    const configure = () => configuring(() => reading('options', () => this.hub.native.configureCache(options)))
    this.#config = Object.freeze({ ...this.#config, ...configOf(unwrap(configure())) })
  }

  #clearCache(): void {
    this.#assertOpen()
    this.hub.native.clearCache()
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

/** Says what nobody waits for to be told. */
function warn(hub: Hub): void {
  for (const warning of hub.native.takeWarnings()) process.emitWarning(warning, 'MlxServingWarning')
}

/** What this process may use of the machine's memory. */
function memoryBytes(): number {
  const allowed = process.constrainedMemory?.() ?? 0
  return allowed > 0 ? Math.min(allowed, totalmem()) : totalmem()
}

/** The variables that may be ours; which ones are is the addon's to know. Those of this thread: a worker may have its own. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('MLX_')))
}

/** The settings as users see them, by name. Frozen: everybody who asks gets the same object. */
function configOf(settings: NativeSetting[]): EngineConfig {
  const entries = settings.map(({ name, ...setting }) => [name, Object.freeze(setting)])
  return Object.freeze(Object.fromEntries(entries))
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
