// The public engine: opens and closes the native engine, and passes each call to the file that implements it: generations
// in lib/generation.ts, delivery in lib/hub.ts, models in lib/models.ts.

import type {
  CachedPrompt,
  CacheOptions,
  CachePromptOptions,
  CachePromptParams,
  ChatTemplateParams,
  ComparePromptsOptions,
  DetokenizeParams,
  Engine,
  EngineCache,
  EngineConfig,
  EngineEvents,
  EngineHealth,
  EngineOptions,
  EngineStats,
  GenerateOptions,
  GenerateParams,
  Generation,
  GeneratorItem,
  LoadModelOptions,
  ModelHandle,
  PromptComparison,
  RegisterModelOptions,
  ShutdownOptions,
  TokenizeParams,
  UnloadModelOptions,
} from '../index'
import { comparisonOf } from './comparison'
import { environment, memoryBytes, warnOfUnknown } from './environment'
import { errorOf, type MlxServingError, unwrap } from './errors'
import { stopAtExit } from './exit'
import { AnswerGeneration, type Host, request } from './generation'
import { Items } from './generator'
import { Hub } from './hub'
import type { Known } from './lifecycle/known'
import { Lifecycle } from './lifecycle/lifecycle'
import { lifecycleSettings } from './lifecycle/settings'
import { warmUp as warmUpOn } from './lifecycle/warmup'
import { loadAddon } from './load'
import { readLog } from './log'
import { loadRequestOf, registrationOf, unloadRequestOf } from './modeloptions'
import { idOfHandle, Models } from './models'
import type { NativeSetting } from './native'
import { Observer } from './observer'
import { read, reading, readKnown, readMs, readText, readTokens, take } from './options'
import { cachePrompt } from './pins'
import { readRuntimeFile, settingOf, warnOfDeprecated } from './runtimefile'
import { readScript, type Script } from './scripted'
import { setImmediate } from './timers'

const DEFAULT_DRAIN_MS = 30_000
const KV_BYTES = 'memory.kvBytes'

export async function createEngine(options?: EngineOptions): Promise<Engine> {
  const addon = loadAddon()
  const { options: checked, script } = configuring(() => readScript(options))
  const variables = environment()
  warnOfUnknown(variables, addon)
  const log = readLog(checked, variables)
  const observer = new Observer(log)
  const hub = new Hub(addon, log)
  const forget = stopAtExit(hub)
  try {
    const file = readRuntimeFile(checked, variables)
    const start = () =>
      configuring(() =>
        reading('options', () => hub.native.start(checked, variables, memoryBytes(), file?.file, log.wanted())),
      )
    const settings = unwrap(await hub.keepAlive.during(async () => start()))
    if (file !== undefined) warnOfDeprecated(file.file, addon)
    const config = configOf([...settings, settingOf(file)])
    warn(hub)
    hub.begin(config['streaming.bufferTokens'].value as number)
    const engine = new NodeEngine({ hub, forget, config, script, observer })
    const [preset, backend] = ['preset', 'backend'].map(name => config[name].value)
    observer.log.write('info', 'engine started', {
      version: addon.version(),
      preset,
      backend,
      configFile: file?.file.path,
    })
    // The caller has the engine, and can listen, before the immediate runs.
    setImmediate(() => engine.ready())
    return engine
  } catch (error) {
    forget()
    hub.deliver()
    hub.native.close()
    throw error
  }
}

/** What an engine that has started is made of. */
interface Started {
  hub: Hub
  script: Script | undefined
  observer: Observer
  config: EngineConfig
  /** Removes the engine from the list of those that are stopped at exit. */
  forget: () => void
}

class NodeEngine implements Engine, Host {
  readonly hub: Hub
  readonly script: Script | undefined
  readonly observer: Observer
  readonly lifecycle: Lifecycle
  readonly cache: EngineCache = {
    configure: options => this.#configureCache(options),
    clear: () => this.#clearCache(),
  }
  readonly #models: Models
  readonly #forget: () => void
  #config: EngineConfig
  #closed: Promise<void> | undefined
  /** The statistics and metrics at the end of the shutdown. */
  #final: EngineStats | undefined
  #finalMetrics: string | undefined

  constructor({ hub, forget, config, script, observer }: Started) {
    this.hub = hub
    this.script = script
    this.observer = observer
    this.#config = config
    // With scripted answers, a warm-up would use one up.
    const warmUp = script === undefined ? (model: Known) => warmUpOn(hub, model) : async () => {}
    this.lifecycle = new Lifecycle(hub.native, lifecycleSettings(config), warmUp)
    this.lifecycle.observe(observer.ofModels())
    this.#models = new Models(this.lifecycle, observer)
    this.#forget = forget
  }

  on<E extends keyof EngineEvents>(event: E, listener: (event: EngineEvents[E]) => void): this {
    this.observer.events.on(event, listener)
    return this
  }

  once<E extends keyof EngineEvents>(event: E, listener: (event: EngineEvents[E]) => void): this {
    this.observer.events.once(event, listener)
    return this
  }

  off<E extends keyof EngineEvents>(event: E, listener: (event: EngineEvents[E]) => void): this {
    this.observer.events.off(event, listener)
    return this
  }

  /** The engine can serve requests. */
  ready(): void {
    if (this.#closed === undefined) this.observer.status('ready')
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

  async registerModel(model: RegisterModelOptions): Promise<string> {
    this.#assertOpen()
    return this.#models.register(registrationOf(model))
  }

  async unloadModel(model: ModelHandle | string, options?: UnloadModelOptions): Promise<void> {
    this.#assertOpen()
    const request = unloadRequestOf(options)
    return this.hub.keepAlive.during(() => this.#models.unload(model, request))
  }

  async warmupModel(model: ModelHandle | string): Promise<void> {
    const known = this.modelOf(model)
    await this.#ask(known, () => warmUpOn(this.hub, known))
  }

  pinModel(model: ModelHandle | string): void {
    this.#assertOpen()
    this.#models.pin(model, true)
  }

  unpinModel(model: ModelHandle | string): void {
    this.#assertOpen()
    this.#models.pin(model, false)
  }

  listModels(): ModelHandle[] {
    this.#assertOpen()
    return this.#models.list()
  }

  getModelInfo(model: ModelHandle | string): ModelHandle | undefined {
    this.#assertOpen()
    return this.#models.find(model)
  }

  async cachePrompt(params: CachePromptParams, options?: CachePromptOptions): Promise<CachedPrompt> {
    return cachePrompt(this, params, options)
  }

  async tokenize(params: TokenizeParams): Promise<Uint32Array> {
    const { model, text } = readKnown(params, 'params', ['model', 'text'])
    const known = this.modelOf(model)
    const read = readText(text, 'text')
    return this.#ask(known, async key => unwrap(await this.hub.native.tokenize(key, read)))
  }

  async detokenize(params: DetokenizeParams): Promise<string> {
    const { model, tokens } = readKnown(params, 'params', ['model', 'tokens'])
    const known = this.modelOf(model)
    // The size of the vocabulary is known once the model is loaded.
    const decode = (key: number) => {
      const read = readTokens(tokens, 'tokens', known.handle?.vocabSize ?? 0)
      return this.hub.native.detokenize(key, read)
    }
    return this.#ask(known, async key => unwrap(await decode(key)))
  }

  async comparePrompts(
    a: GenerateParams,
    b: GenerateParams,
    options?: ComparePromptsOptions,
  ): Promise<PromptComparison> {
    const { model, compare } = comparisonOf(a, b, named => this.modelOf(named))
    return this.#ask(model, async key => unwrap(await compare(this.hub.native, key, options)))
  }

  async applyChatTemplate(params: ChatTemplateParams): Promise<string> {
    const chat = read(params, 'params')
    const known = this.modelOf(take(chat, 'model'))
    const render = (key: number) => reading('params', () => this.hub.native.applyChatTemplate(key, chat))
    return this.#ask(known, async key => unwrap(await render(key)))
  }

  stats(): EngineStats {
    if (this.#final !== undefined) return this.#final
    const { models, ...engine } = this.hub.native.stats()
    return { ...engine, lifecycle: this.lifecycle.stats(), models: this.#models.named(models) }
  }

  metrics(): string {
    return this.#finalMetrics ?? this.hub.native.metrics()
  }

  health(): EngineHealth {
    const { status, reasons } = this.hub.native.health()
    // While a model is known, the engine is ready without a loaded one: the next request loads it.
    const left = reasons.filter(({ code }) => code !== 'noModel' || this.lifecycle.known.size === 0)
    return { status: left.length === 0 ? 'ready' : status, reasons: left }
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

  /** The model of a `model` param. */
  modelOf(model: unknown): Known {
    this.#assertOpen()
    return this.#models.modelOf(model)
  }

  async #close(drainMs: number): Promise<void> {
    this.observer.status('draining')
    this.#models.close(closed())
    try {
      unwrap(await this.hub.native.shutdown(drainMs))
    } finally {
      // The wake for the last answers may not have run yet.
      this.hub.deliver()
      this.hub.failAll(closed())
      warn(this.hub)
      this.lifecycle.close()
      this.#forget()
      this.#final = Object.freeze(this.stats())
      this.#finalMetrics = this.metrics()
      this.hub.native.close()
      this.observer.status('stopped')
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

  /** Asks a model something, once it is loaded. It stays loaded meanwhile. */
  #ask<T>(model: Known, question: (key: number) => Promise<T>): Promise<T> {
    return this.hub.keepAlive.during(async () => {
      this.lifecycle.begin(model)
      try {
        if (model.isResident) return await question(model.key as number)
        // The promise is in an object. Otherwise `whenLoaded` would wait for it.
        const { answer } = await this.lifecycle.whenLoaded(model, {}, key => ({ answer: question(key) }))
        return await answer
      } finally {
        this.lifecycle.end(model)
      }
    })
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
