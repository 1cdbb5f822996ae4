// The public engine: opens and closes the native engine, and passes each call to the file that implements it: generations
// in lib/generation.ts, delivery in lib/hub.ts, models in lib/models.ts.

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
import { environment, memoryBytes, warnOfUnknown } from './environment'
import { errorOf, type MlxServingError, unwrap } from './errors'
import { stopAtExit } from './exit'
import { AnswerGeneration, type Host, request } from './generation'
import { Items } from './generator'
import { Hub } from './hub'
import { loadAddon } from './load'
import { loadRequestOf } from './modeloptions'
import { idOfHandle, Models } from './models'
import type { NativeError, NativeSetting } from './native'
import { read, reading, readKnown, readMs, readText, readTokens, take } from './options'
import { readScript, type Script } from './scripted'

const DEFAULT_DRAIN_MS = 30_000
const KV_BYTES = 'memory.kvBytes'

export async function createEngine(options?: EngineOptions): Promise<Engine> {
  const addon = loadAddon()
  const hub = new Hub(addon)
  const forget = stopAtExit(hub.native)
  try {
    const { options: checked, script } = configuring(() => readScript(options))
    const variables = environment()
    warnOfUnknown(variables, addon)
    const start = () => configuring(() => reading('options', () => hub.native.start(checked, variables, memoryBytes())))
    const config = configOf(unwrap(await hub.keepAlive.during(async () => start())))
    warn(hub)
    hub.begin(config['streaming.bufferTokens'].value as number)
    return new NodeEngine(hub, forget, config, script)
  } catch (error) {
    forget()
    hub.native.close()
    throw error
  }
}

class NodeEngine implements Engine, Host {
  readonly hub: Hub
  readonly script: Script | undefined
  readonly cache: EngineCache = {
    configure: options => this.#configureCache(options),
    clear: () => this.#clearCache(),
  }
  readonly #models: Models
  /** Removes the engine from the list of those that are stopped at exit. */
  readonly #forget: () => void
  #config: EngineConfig
  #closed: Promise<void> | undefined
  /** The statistics at the end of the shutdown. */
  #final: EngineStats | undefined

  constructor(hub: Hub, forget: () => void, config: EngineConfig, script?: Script) {
    this.hub = hub
    this.script = script
    this.#config = config
    this.#models = new Models(hub.native)
    this.#forget = forget
  }

  generate<T>(params: GenerateParams, options?: GenerateOptions): Generation<T> {
    // The type of `parsed` is the caller's claim; it is not checked.
    return new AnswerGeneration(request(this, params, options)) as Generation as Generation<T>
  }

  createGenerator<T>(
    params: GenerateParams,
    options?: GenerateOptions,
  ): AsyncGenerator<GeneratorItem<T>, void, undefined> {
    const items: AsyncGenerator<GeneratorItem, void, undefined> = new Items(() => request(this, params, options).source)
    return items as AsyncGenerator<GeneratorItem<T>, void, undefined>
  }

  async loadModel(model?: string | LoadModelOptions): Promise<ModelHandle> {
    this.#assertOpen()
    const request = loadRequestOf(model, idOfHandle)
    return this.hub.keepAlive.during(() => this.#models.load(request))
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
    if (this.#final !== undefined) return this.#final
    const { models, ...engine } = this.hub.native.stats()
    return { ...engine, models: this.#models.named(models) }
  }

  config(): EngineConfig {
    this.#assertOpen()
    // Without an option it depends on the models that are loaded.
    const kvBytes = this.#config[KV_BYTES]
    const value = this.hub.native.kvLimit()
    if (value !== null && value !== kvBytes.value) this.#configure([{ ...kvBytes, name: KV_BYTES, value }])
    return this.#config
  }

  async shutdown(options?: ShutdownOptions): Promise<void> {
    const drainMs = readMs(readKnown(options, 'options', ['drainMs']).drainMs, 'drainMs', DEFAULT_DRAIN_MS)
    if (this.#closed === undefined) this.#closed = this.hub.keepAlive.during(() => this.#close(drainMs))
    // A second call may shorten the time to drain. Its outcome is that of the first call.
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
      // The wake for the last answers may not have run yet.
      this.hub.deliver()
      this.hub.failAll(closed())
      warn(this.hub)
      this.#models.close()
      this.#forget()
      this.#final = Object.freeze(this.stats())
      this.hub.native.close()
    }
  }

  #configureCache(options: CacheOptions): void {
    this.#assertOpen()
    const configure = () => configuring(() => reading('options', () => this.hub.native.configureCache(options)))
    this.#configure(unwrap(configure()))
  }

  #configure(settings: NativeSetting[]): void {
    this.#config = Object.freeze({ ...this.#config, ...configOf(settings) })
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

/** Emits process warnings for problems that no call reports. */
function warn(hub: Hub): void {
  for (const warning of hub.native.takeWarnings()) process.emitWarning(warning, 'MlxServingWarning')
}

/** The settings by name. Frozen, because all callers get the same object. */
function configOf(settings: NativeSetting[]): EngineConfig {
  const entries = settings.map(({ name, ...setting }) => [name, Object.freeze(setting)])
  return Object.freeze(Object.fromEntries(entries))
}

/** Runs a function that reads engine options. Its errors become a `ConfigError`. */
function configuring<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { message, param, cause } = error as MlxServingError
    throw errorOf('ConfigError', message, { ...(param && { param }), cause })
  }
}
