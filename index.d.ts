// The public types of mlx-serving. lib/ implements them, and `__test__/types.test-d.ts` tests them. An option that is not
// declared here is rejected at run time as well. The library never changes an object that it is given. `undefined` means
// absent.

/**
 * Starts an engine, which runs models on a thread of its own and batches concurrent requests.
 *
 * One engine serves any number of models and concurrent requests; a process rarely needs a second engine. The native
 * addon is loaded by the first call. An engine keeps the process alive only while a call is awaited: a generation, the
 * next chunk of a stream, a load, a shutdown.
 *
 * @throws {@link UnsupportedPlatformError} there is no addon for this platform, or it could not be loaded
 * @throws {@link ConfigError} an option or an environment variable is unknown or out of range
 * @throws {@link BackendError} the device could not be started
 *
 * @example
 * const engine = await createEngine()
 * const model = await engine.loadModel()
 * const { text } = await engine.generate({ model, prompt: 'Once' })
 */
export declare function createEngine(options?: EngineOptions): Promise<Engine>

/**
 * Downloads a model of the Hugging Face hub into the cache of the Hugging Face tools, and returns its folder: to prepare an
 * image or a machine, so that `loadModel` needs no network. `loadModel` with such a name does the same before it loads.
 *
 * Only the files that a model is loaded from are downloaded, and only those that the cache does not have, four at a time.
 * A lost connection is tried again. An ended download goes on where it was. Every file is checked by its hash before it
 * counts. Concurrent calls share one download, and processes wait for each other. If the hub cannot be reached, the cached
 * model is used, with a process warning.
 *
 * The variables of the Hugging Face tools are followed: `HF_ENDPOINT`, `HF_TOKEN` (or the token of `hf auth login`),
 * `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE` and `HF_HUB_DOWNLOAD_TIMEOUT`.
 *
 * @throws {@link DownloadError} there is no such model, it may not be read, the connection failed too often, the disk is full,
 * or the hub sent something else than it announced
 * @throws {@link ModelError} `ModelNotFound`: `HF_HUB_OFFLINE` is set, and the model is not in the cache
 * @throws the reason of {@link DownloadOptions.signal} once it aborts
 *
 * @example
 * const folder = await downloadModel('mlx-community/Qwen3-4B-4bit', {
 *   onProgress: ({ loadedBytes, totalBytes }) => bar.update(loadedBytes / totalBytes),
 * })
 */
export declare function downloadModel(name: string, options?: DownloadOptions): Promise<string>

/** Options of {@link downloadModel}. */
export interface DownloadOptions {
  /** A branch, a tag or a commit. A commit that is in the cache needs no request. @default 'main' */
  revision?: string | undefined
  /** For models that are private or have terms to accept. It is sent to the hub only. @default `HF_TOKEN` */
  token?: string | undefined
  /** Ends the download. What has arrived stays, and the next download goes on from there. */
  signal?: AbortSignal | undefined
  /** Called at most about 20 times a second, and once at the end. An error that it throws ends this call with that error. */
  onProgress?: ((progress: LoadProgress) => void) | undefined
}

/**
 * Options of an engine. Every field is optional.
 *
 * Every option except `backend` can also be set by an environment variable, such as `MLX_SERVING_MAX_PENDING`. An option
 * overrides a variable, a variable overrides the preset, and the preset overrides the defaults. {@link Engine.config} shows the
 * effective value of each option, its source and its variable. A variable that begins with `MLX_SERVING_` and is unknown causes
 * one process warning with the code `UnknownVariable`.
 */
export interface EngineOptions {
  /**
   * What to tune for: the latency of a few requests, or the throughput of many. A preset only changes defaults.
   *
   * @default 'balanced'
   */
  preset?: 'latency' | 'balanced' | 'throughput' | undefined
  /**
   * What runs the models: MLX, or a simulated device. A simulated device lets you test code that uses this library on any
   * machine. It generates deterministic text at the speed of a profile: `'m3-max/llama-3.2-3b-4bit'`,
   * `'m3-max/llama-3.1-8b-4bit'`, `'m3-max/qwen3-30b-a3b-4bit'`, `'m3-max/gemma-2-27b-4bit'` or `'instant'`. It needs only the
   * tokenizer of a model folder.
   *
   * @default 'mlx'
   */
  backend?: 'mlx' | SimulatedBackend | undefined
  scheduler?: SchedulerOptions | undefined
  /**
   * The element type of computations. `'auto'` is float32 on a CPU, where half precision and quantized weights are
   * slow; quantized weights are dequantized if that takes at most half of the memory. On a GPU `'auto'` is the model's
   * own type. `'model'` is the model's own type everywhere.
   *
   * @default 'auto'
   */
  precision?: 'auto' | 'model' | undefined
  memory?: MemoryOptions | undefined
  streaming?: StreamingOptions | undefined
  cache?: CacheOptions | undefined
}

/** A simulated device. It simulates timing and computes nothing. */
export interface SimulatedBackend {
  /** The device and model to simulate. `'instant'` takes no time. The error about an unknown name lists the known ones. */
  simulated: string
  /** Failures of the device, to test how your code handles them. @default [] */
  faults?: readonly SimulatedFault[] | undefined
  /**
   * What the device answers, to test code that acts on answers: a list of answers, or a function that gives the answer to a
   * request. docs/testing.md has examples.
   *
   * @default none: the device makes its own text
   */
  answers?: ScriptedAnswers | undefined
  /**
   * What a request gets that none of `answers` fits. `'fail'`: {@link ConfigError}, so that a test does not pass by chance.
   * `'simulate'`: the text that the device makes without `answers`.
   *
   * @default 'fail'
   */
  onUnmatched?: 'fail' | 'simulate' | undefined
}

/**
 * The answers of a simulated device. Everything else is as with a real model: prompts and answers are tokens of the loaded
 * model, and answers are streamed, parsed, cut and shared.
 *
 * With a list, a request gets the first answer of the list that fits it and is not used up. With a function, it gets the answer
 * that the function returns, and none for `undefined`. An error that the function throws rejects the request.
 *
 * An answer is used by a generation, not by a request: requests that share an answer use one. The `n` answers to a request are
 * taken from a list one after another; a function gives all of them the same answer.
 *
 * @throws {@link ConfigError} from {@link createEngine}: an answer is malformed, or there is also a `cache.promptCache.path`.
 * From a request: it gets no answer, or one that this model cannot write, or that its `structured` or `toolChoice` does not
 * allow
 */
export type ScriptedAnswers = readonly ScriptedAnswer[] | ((request: ScriptedRequest) => ScriptedReply | undefined)

/** What a simulated device answers: at least one of `text`, `reasoning`, `toolCalls` and `errorAfterTokens`. */
export interface ScriptedReply {
  /** The text. Control tokens that it spells are plain text. @default '' */
  text?: string | undefined
  /** The reasoning before the text, for a model whose chat template has reasoning tags. */
  reasoning?: string | undefined
  /**
   * Tool calls after the text, written in the format of the model's chat template. Each `name` is one of the request's `tools`;
   * `arguments` are not checked against its `parameters`. To test malformed calls, write them in `text`.
   */
  toolCalls?: readonly { name: string; arguments?: object | undefined }[] | undefined
  /**
   * How the answer ends. `'stop'`: the model ends its turn; with tool calls the result has `'tool-calls'`. `'length'`: it is
   * cut after its last token, as by `maxTokens`. Params of the request, such as `maxTokens` and `stopSequences`, can end it
   * earlier. An answer that must not end yet, by `minTokens` or `ignoreEos`, starts again.
   *
   * @default 'stop'
   */
  finishReason?: 'stop' | 'length' | undefined
  /**
   * The device fails after this many tokens of the answer, and the request with {@link BackendError}. From 0 to the number of
   * tokens of the answer.
   */
  errorAfterTokens?: number | undefined
}

/** An answer in a list of answers. */
export interface ScriptedAnswer extends ScriptedReply {
  /**
   * Which requests the answer fits, by {@link ScriptedRequest.text}: those whose text contains this text or matches this
   * regular expression, or for which the function returns `true`.
   *
   * @default all requests
   */
  match?: string | RegExp | ((request: ScriptedRequest) => boolean) | undefined
  /** How many generations get the answer: from 1 to `Infinity`. @default Infinity with `match`, else 1 */
  times?: number | undefined
}

/** A request to a simulated device with scripted answers. Its params were not checked yet. */
export interface ScriptedRequest {
  /** The text of the last message, or the `prompt` if it is a string; otherwise empty. */
  readonly text: string
  /** The conversation; empty for a `prompt`. */
  readonly messages: readonly Message[]
  /** All params of the request. */
  readonly params: SamplingOptions &
    ChatOptions & { prompt?: PromptParams['prompt'] | undefined; messages?: readonly Message[] | undefined }
}

/** A failure of a simulated device. It ends requests of the step with {@link BackendError}; `kind` says which. */
export interface SimulatedFault {
  /** The step that fails, counted from 0 over all steps of the loaded model. */
  step: number
  /**
   * What fails. `'submit'`: the step cannot be started. `'collect'`: its tokens cannot be read. `'panic'`: the driver code
   * panics. In these cases all requests of the step fail. `'memory'`: the device has not enough memory for the step; all
   * sequences are recomputed with a smaller batch, and only a request that ran alone fails. `'logits'`: the logits of the
   * first sequence are NaN, and only its request fails.
   */
  kind: 'submit' | 'collect' | 'panic' | 'memory' | 'logits'
}

/** How requests share the device. */
export interface SchedulerOptions {
  /**
   * Whether requests share steps of the model (continuous batching). When off, one request runs at a time: a baseline
   * for measurements.
   *
   * @default true
   */
  enabled?: boolean | undefined
  /**
   * How long an idle engine waits for more requests before its first step. Used when the adaptive window is off. From
   * 0.5 to 5.
   *
   * @default 1
   */
  windowMs?: number | undefined
  /**
   * Sequences that are decoded together in one step. With auto-tune, the batch limit to start with. From 1 to 64.
   *
   * @default 4
   */
  batchSize?: number | undefined
  /**
   * The longest step that auto-tune aims at: it chooses a smaller batch if steps would take longer than this. From 50
   * to 500.
   *
   * @default 100
   */
  maxStepMs?: number | undefined
  /**
   * Whether a request that finds the engine idle and the queue empty starts at once, without a window.
   *
   * @default true
   */
  fastPath?: boolean | undefined
  adaptiveWindow?: AdaptiveWindowOptions | undefined
  autoTune?: AutoTuneOptions | undefined
  /**
   * The most pending requests, waiting and running. One more fails with {@link OverloadedError}. From 1 to 1000000.
   *
   * @default 1024
   */
  maxPending?: number | undefined
  /**
   * The most prompt tokens of all pending requests. A request beyond that fails with {@link OverloadedError}, unless it
   * is the only one. From 1 to 1099511627776.
   *
   * @default 4194304
   */
  maxPendingTokens?: number | undefined
  /**
   * The longest expected wait for a row. A request that would wait longer fails with {@link OverloadedError}. Set it in a
   * service. Without it, only a lasting overload limits the wait. From 1 to 3600000.
   */
  maxWaitMs?: number | undefined
  /** The most prompt tokens of one step while no sequence decodes. From 1 to 65536. @default 512 */
  prefillChunkTokens?: number | undefined
  /**
   * A step that also reads prompts may take at most this many times as long as a step that only decodes, as far as
   * smaller chunks can achieve that. From 1 to 100.
   *
   * @default 2
   */
  interTokenStretch?: number | undefined
  /**
   * Once a request of a lower priority has waited for this long, its priority gets one fifth of the tokens, so that no
   * request waits for ever. From 1 to 3600000.
   *
   * @default 5000
   */
  ageingMs?: number | undefined
  /**
   * Whether an answer must be the same to the last bit, whatever other requests run at the same time. Tested on the
   * CPU, where it costs nothing for models that use the engine's own attention in float32. Elsewhere each row attends
   * by itself, and matrix products cost most when few sequences run. On a GPU attention may still round differently.
   *
   * @default false
   */
  deterministic?: boolean | undefined
}

/** The time that an idle engine waits for more requests before its first step, depending on the queue depth. */
export interface AdaptiveWindowOptions {
  /**
   * Whether the window follows the queue depth. It then opens only when requests tend to arrive together.
   *
   * @default true
   */
  enabled?: boolean | undefined
  /** The window at a queue depth of 1 or less. At most `mediumMs`. From 0.5 to 2. @default 0.75 */
  lowMs?: number | undefined
  /** The window at a queue depth above 1, up to 5. At most `highMs`. From 0.75 to 3. @default 1 */
  mediumMs?: number | undefined
  /** The window at a queue depth above 5. From 1 to 5. @default 2 */
  highMs?: number | undefined
  /**
   * The window changes after this many samples of the queue depth in a row that call for another one. From 1 to 10.
   *
   * @default 3
   */
  hysteresis?: number | undefined
  /** Weight of a new sample in the moving average of the queue depth. From 0.1 to 0.9. @default 0.5 */
  emaAlpha?: number | undefined
}

/** A batch limit that follows measured step times. */
export interface AutoTuneOptions {
  /** Whether the batch limit follows measured step times. It starts at `batchSize`. @default true */
  enabled?: boolean | undefined
  /** The smallest batch limit that auto-tune may choose. At most `maxBatch`. From 1 to 8. @default 2 */
  minBatch?: number | undefined
  /**
   * The largest batch limit that auto-tune may choose, or `batchSize` if that is more. On Apple GPUs, steps of 10 to 32
   * rows take about the same time. From 4 to 64.
   *
   * @default 32
   */
  maxBatch?: number | undefined
  /** Weight of a new sample in the moving average of step times. From 0.1 to 0.9. @default 0.3 */
  emaAlpha?: number | undefined
  /** Steps between two changes of the batch limit. From 5 to 20. @default 10 */
  interval?: number | undefined
}

/** How much of the device's memory may be used. */
export interface MemoryOptions {
  /**
   * Memory for the KV caches of all models, in bytes. By default what the weights leave of three quarters of the memory
   * that the process may use, and at least one eighth of that memory. `engine.config()` shows the number. From 1 to
   * 9007199254740991.
   */
  kvBytes?: number | undefined
}

/** How far a stream may be ahead of the code that reads it. */
export interface StreamingOptions {
  /**
   * Tokens that a stream may be ahead of its reader. Then it is parked: it keeps its memory, and runs no steps. From 3
   * to 65536.
   *
   * @default 256
   */
  bufferTokens?: number | undefined
  /**
   * How long a parked stream waits for its reader before it fails with {@link SlowConsumerError}. From 1 to
   * 9007199254740991.
   *
   * @default 60000
   */
  parkTimeoutMs?: number | undefined
}

/**
 * The effective value of each option, by its name with dots between the levels:
 * `engine.config()['scheduler.batchSize'].value`. The value of `backend` is `'mlx'` or the name of the simulated profile. The
 * value of `memory.kvBytes` is the number of bytes that limits the KV caches now, also where no source sets it: then it follows
 * the weights of the loaded models.
 */
export type EngineConfig = { readonly [name: string]: ConfigValue }

/** The effective value of one option. */
export interface ConfigValue {
  /** The value. Absent if no source sets it and it has no default: then there is no limit, or no file. Durations are in ms. */
  readonly value?: boolean | number | string
  /** The strongest source that sets the value; each overrides those before it in this order. */
  readonly source: 'default' | 'preset' | 'environment' | 'option'
  /** The environment variable of the option, if it has one. */
  readonly variable?: string
  /** The smallest allowed number; absent for a value of another type. */
  readonly min?: number
  /** The largest allowed number; absent for a value of another type. */
  readonly max?: number
  /** The allowed names, if the option has some names only. */
  readonly names?: readonly string[]
}

/**
 * Which answers identical requests share, so that the same work is not done twice. There are three layers: joining a
 * running generation, the answer of one that has just ended, and the prompt cache. Each layer has its own switch, and
 * {@link SamplingOptions.cache} decides for a single request.
 */
export interface CacheOptions {
  coalescing?: CoalescingOptions | undefined
  dedup?: DedupOptions | undefined
  promptCache?: PromptCacheOptions | undefined
}

/** Joining a generation that is running. */
export interface CoalescingOptions {
  /**
   * Whether a request joins an identical one that is running. It gets the whole answer, from its beginning.
   *
   * @default true
   */
  enabled?: boolean | undefined
  /**
   * The most readers of one generation. The next request starts another generation, which can be joined in turn. From 1
   * to 1000000.
   *
   * @default 10000
   */
  maxSubscribers?: number | undefined
}

/** Reusing an answer shortly after its end. */
export interface DedupOptions {
  /** Whether a request gets the answer of an identical one that has just ended. @default true */
  enabled?: boolean | undefined
  /** How long after its end an answer can be reused by `dedup`. From 1 to 604800000. @default 1000 */
  ttlMs?: number | undefined
  /**
   * The most answers that are cached for `dedup` alone: those that are not reproducible, or all without a prompt cache.
   * The oldest is evicted first. From 1 to 1000000.
   *
   * @default 1000
   */
  maxEntries?: number | undefined
}

/** Reusing an answer long after its end, if computing it again would give the same answer. */
export interface PromptCacheOptions {
  /** Whether reproducible answers are cached. The least recently used one is evicted first. @default true */
  enabled?: boolean | undefined
  /** How long after its end an answer can be reused. From 1 to 604800000. @default 300000 */
  ttlMs?: number | undefined
  /**
   * The most cached answers. From 1 to 1000000.
   *
   * @default 10000
   */
  maxEntries?: number | undefined
  /** The most tokens of all cached answers. From 1 to 1099511627776. @default 1000000 */
  maxTokens?: number | undefined
  /**
   * The most bytes of all cached answers, including those that are cached for `dedup` alone. From 1 to 1099511627776.
   *
   * @default 104857600
   */
  maxBytes?: number | undefined
  /**
   * A file that keeps the cached answers when the process ends. Only its owner can read it. {@link createEngine} reads the
   * file; it is written some seconds after a change and when the engine shuts down. A file that cannot be read is renamed
   * to end in `.set-aside`, with a process warning. The path cannot be changed while the engine runs. The variable
   * `MLX_SERVING_PROMPT_CACHE_PATH` sets it as well.
   *
   * @default none: answers are cached in memory only
   */
  path?: string | undefined
}

/** The answer cache of an engine. */
export interface EngineCache {
  /**
   * Changes options while the engine runs. Options that are not given keep their values; {@link Engine.config} shows them.
   * Answers stay cached as far as the new options allow. Requests that have joined a running generation stay with it.
   *
   * @throws {@link ConfigError} an option is unknown or out of range; then no option is changed
   */
  configure(options: CacheOptions): void
  /** Removes every answer. Later requests do not join generations that are running now. */
  clear(): void
}

/**
 * A running engine. After {@link Engine.shutdown} every member fails with {@link EngineClosedError}, except `stats`, `shutdown`
 * and `dispose`.
 */
export interface Engine extends AsyncDisposable {
  /**
   * Loads a model, so that it can generate.
   *
   * Without an argument it loads the small demo model that ships with the package. A string is the path of a model
   * folder in Hugging Face layout, or the id of a loaded model. Loading a loaded model returns the same handle, and
   * concurrent loads of one model load it once. Streams of other models go on meanwhile. A folder with the same
   * `chatTemplate` and `toolPrompt` is the same model; with others it is another model, with memory of its own, and needs
   * an `id`.
   *
   * @throws {@link InvalidParamsError} an option is wrong: the `id` is taken, the `chatTemplate` does not compile
   * @throws {@link ModelError} `ModelNotFound`, `ModelLoadError` or `UnsupportedModel`
   * @throws {@link BackendError} `InsufficientMemory`: the model does not fit the device
   * @throws {@link OverloadedError} 32 models are being loaded
   * @throws the reason of {@link LoadModelOptions.signal} once it aborts, and an error of
   * {@link LoadModelOptions.onProgress}
   *
   * @example
   * const model = await engine.loadModel({
   *   path: '/models/Qwen3-4B-4bit',
   *   onProgress: ({ loadedBytes, totalBytes }) => console.log(`${Math.round((loadedBytes / totalBytes) * 100)} %`),
   * })
   */
  loadModel(model?: string | LoadModelOptions): Promise<ModelHandle>
  /**
   * Unloads a model and frees its memory. New requests are refused at once; running ones may end first.
   *
   * @throws {@link ModelError} `ModelNotLoaded`
   */
  unloadModel(model: ModelHandle | string): Promise<void>
  /** The loaded models, oldest first. */
  listModels(): ModelHandle[]
  /** The handle of a loaded model; `undefined` if it is not loaded. */
  getModelInfo(model: ModelHandle | string): ModelHandle | undefined
  /**
   * Generates an answer. The work starts with the call. The result can be awaited for the whole answer, iterated for
   * chunks, or both.
   *
   * `generate` itself never throws: an error rejects the promise and the iterator. A generation that is neither awaited nor
   * read fails silently. If it and its iterators are garbage-collected, its work ends, unless it was awaited.
   *
   * @example
   * const { text } = await engine.generate({ model, messages: [{ role: 'user', content: 'What is 12 + 7?' }] })
   * @example
   * for await (const chunk of engine.generate({ model, prompt: 'Once' }, { signal })) process.stdout.write(chunk.text)
   * @example
   * const { parsed } = await engine.generate<Person>({ model, messages, structured: { schema } })
   */
  generate<T = unknown>(params: GenerateParams, options?: GenerateOptions): Generation<T>
  /**
   * Generates an answer as one item for each token. The work starts with the first `next()` and ends when the loop is left.
   * `return()` and `throw()` end it at once, even while a `next()` is pending.
   */
  createGenerator<T = unknown>(
    params: GenerateParams,
    options?: GenerateOptions,
  ): AsyncGenerator<GeneratorItem<T>, void, undefined>
  /**
   * The token ids of a text, as for a plain `prompt`.
   *
   * @throws {@link ModelError} `TokenizerError` or `ModelNotLoaded`
   * @throws {@link InvalidParamsError} the text is too long
   */
  tokenize(params: TokenizeParams): Promise<Uint32Array>
  /**
   * The text of token ids, without special tokens.
   *
   * @throws {@link InvalidParamsError} an id is not in the vocabulary, or there are too many
   */
  detokenize(params: DetokenizeParams): Promise<string>
  /**
   * The text of the prompt that {@link Engine.generate} makes of messages, to inspect it.
   *
   * @throws {@link InvalidParamsError} the model has no chat template, or it refuses these messages
   * @throws {@link ModelError} `TokenizerError`: the chat template fails
   */
  applyChatTemplate(params: ChatTemplateParams): Promise<string>
  /** The answers that identical requests share. */
  readonly cache: EngineCache
  /**
   * A snapshot of counters and gauges. Cheap enough to call often. It also works while the engine shuts down; afterwards it
   * returns the last snapshot, with the final counters and without models.
   */
  stats(): EngineStats
  /**
   * The effective options and their sources: which preset, variable or option took effect. While the engine runs, only
   * {@link EngineCache.configure} changes them, and a load or unload changes the default of `memory.kvBytes`.
   *
   * @example
   * console.table(engine.config())
   */
  config(): EngineConfig
  /**
   * Stops the engine. New requests are refused at once. Running ones may end within `drainMs`; the rest then fails with
   * {@link EngineClosedError}. Another call waits for the same end, at the earliest time that any call has asked for.
   *
   * @throws {@link InvalidParamsError} `drainMs` is not a number of milliseconds; the engine goes on
   */
  shutdown(options?: ShutdownOptions): Promise<void>
  /** The same as `shutdown({ drainMs: 0 })`: running requests fail now. `await using` calls it. */
  dispose(): Promise<void>
}

/** Options of {@link Engine.loadModel}. */
export interface LoadModelOptions {
  /**
   * A model folder in Hugging Face layout, or the name of a model on the Hugging Face hub, such as
   * `'mlx-community/Qwen3-4B-4bit'`. A folder of that name comes first. What the cache does not have is downloaded, as
   * {@link downloadModel} does.
   *
   * @default the demo model of the package
   */
  path?: string | undefined
  /** As {@link DownloadOptions.revision}, for a model of the hub. */
  revision?: string | undefined
  /** As {@link DownloadOptions.token}, for a model of the hub. */
  token?: string | undefined
  /**
   * The name that `model:` accepts, of at most 256 characters. Ids are unique in an engine, and a model has one id.
   *
   * @default the name of the folder. A snapshot in the cache of the Hugging Face hub is named by its repository,
   * `'owner/name'`. If the name is taken by another folder, `-2` follows it, or the next free number.
   *
   * @throws {@link InvalidParamsError} another model has this id, this model is loaded with another id, or it is missing and
   * the same folder is loaded with another `chatTemplate` or `toolPrompt`
   */
  id?: string | undefined
  /**
   * A chat template, in Jinja, in place of those of the folder: for a model without one, or with a broken one. At most
   * 1 MiB. Tool calls and reasoning are parsed in the format that this template shows.
   *
   * @default the chat template of the folder
   *
   * @throws {@link InvalidParamsError} it does not compile
   */
  chatTemplate?: string | undefined
  /**
   * Describes tools to a model whose chat template has no place for them: tools, calls of earlier answers and results of
   * tools are written into messages in the Hermes format, and answers are parsed in that format. A chat template with a
   * place for tools is used as it is. `warnings` of a result says when the tool prompt was used. A model that was not
   * trained for this format may call tools badly.
   *
   * @default none: requests with `tools` are refused if the chat template has no place for them
   */
  toolPrompt?: 'hermes' | undefined
  /**
   * Called while the model is downloaded and loaded: at most about 20 times a second, and once at the end of each stage with
   * all bytes, also for a model that is loaded already. Where several callers wait for one load, each gets reports. An
   * error that it throws ends the load for this caller, with that error.
   */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /**
   * Ends the load. The promise rejects with the signal's reason at once; what was loaded is given back within the part of
   * the work that is under way, a tensor as a rule, and the model can be loaded again meanwhile. Where several callers wait
   * for one load, it ends with the last of them. After the load has ended the signal has no effect.
   */
  signal?: AbortSignal | undefined
}

/** How much of a model has been downloaded or loaded. @see {@link LoadModelOptions.onProgress} */
export interface LoadProgress {
  /** `'download'`: files of a model of the hub are downloaded. `'load'`: its weights are loaded. */
  readonly stage: 'download' | 'load'
  /**
   * Bytes of files that are there, or bytes of weights that are loaded. At the end of a stage it equals `totalBytes`. It
   * decreases only if a damaged file is downloaded again.
   */
  readonly loadedBytes: number
  /** Bytes of the files that the model needs, or of the weights in them. */
  readonly totalBytes: number
}

/** Options of {@link Engine.shutdown}. */
export interface ShutdownOptions {
  /** Milliseconds that running requests have to end. @default 30000 */
  drainMs?: number | undefined
}

/** A model of one engine. */
export interface ModelHandle {
  /** Its name, which `model:` accepts; see {@link LoadModelOptions.id}. Unique in its engine. */
  readonly id: string
  /** The folder that it was loaded from. */
  readonly path: string
  /** Its architecture, for example `'llama'`. */
  readonly family: string
  /** The most tokens of prompt and answer together. */
  readonly contextLength: number
  /** Number of token ids. */
  readonly vocabSize: number
  /** The quantization of its weights. Absent if they are not quantized. */
  readonly quantization?: { readonly bits: number; readonly groupSize: number }
  /** Memory of its weights, in bytes. */
  readonly bytes: number
  /** The element type of computations. On a CPU it is `'float32'` unless `precision` is `'model'`. */
  readonly computeType: 'float32' | 'float16' | 'bfloat16' | 'simulated'
  /** What requests may have, to ask before the first request. */
  readonly capabilities: ModelCapabilities
  /**
   * Values in its files that were ignored, each with the file and the expected value: for example a default of
   * `generation_config.json` that no request may have, such as a temperature below 0, or an end token that is not in the
   * vocabulary. Empty if there are none.
   */
  readonly warnings: readonly string[]
  /** `'unloaded'` after it was unloaded or its engine was shut down. */
  readonly state: 'loaded' | 'unloaded'
}

/**
 * What requests of a model may have. It is found at load by rendering small chats, so it agrees with what requests get. The
 * object is frozen.
 */
export interface ModelCapabilities {
  /** `messages`: there is a chat template, and it works. Without one, use `prompt`. */
  readonly chat: boolean
  /** System messages. If false, they are refused, or the chat template leaves them out. */
  readonly systemRole: boolean
  /** `tools`: the chat template has a place for them, or `toolPrompt` writes them into messages. If false, they are refused. */
  readonly tools: boolean
  /** The format in which calls in answers are parsed. Absent if calls stay in the text, because their format is unknown. */
  readonly toolCallFormat?: ToolCallFormat
  /** `toolChoice: 'required'` and `{ name }`. If false, they are refused. */
  readonly toolChoice: boolean
  /** The tool prompt, if it is used: the chat template has no place for tools. */
  readonly toolPrompt?: 'hermes'
  /** `reasoning` of results: the chat template shows the tags of reasoning. */
  readonly reasoning: boolean
  /** `structured`. False for the few tokenizers whose answers cannot be constrained. */
  readonly structured: boolean
  /** `logprobs`. */
  readonly logprobs: boolean
  /** The most tokens of prompt and answer together. */
  readonly contextLength: number
  /** The element type of computations; see {@link ModelHandle.computeType}. */
  readonly computeType: ModelHandle['computeType']
}

/** How a model writes tool calls; docs/tool-calls.md shows each format. */
export type ToolCallFormat =
  | 'gemma-4'
  | 'function-gemma'
  | 'gemma-3'
  | 'mistral'
  | 'hermes'
  | 'lfm2'
  | 'pythonic'
  | 'llama-3'

/** The params of a request: either {@link PromptParams} or {@link MessagesParams}. */
export type GenerateParams = PromptParams | MessagesParams

/**
 * Continues a text or a list of token ids, without a chat template. Prompt and answer are one text: an answer that
 * continues with a new word starts with a space.
 */
export interface PromptParams extends SamplingOptions {
  /**
   * The prompt, with at most 32 MiB of text. A text that cannot fit the context is refused before it is copied or
   * tokenized, if its number of bytes shows that; so are more `tokens` than the context has.
   *
   * @throws {@link InvalidParamsError} `ContextLengthExceeded`
   */
  prompt: string | { tokens: readonly number[] | Uint32Array } | PromptTemplate
  messages?: undefined
}

/**
 * Answers a conversation, which the model's chat template turns into a prompt. The answer is a text of its own, without the
 * space that some tokenizers write before the first word. With `continueFinalMessage` it continues the last message.
 */
export interface MessagesParams extends SamplingOptions, ChatOptions {
  /** The conversation: at most 16384 messages, parts and tool calls together, with 32 MiB of text. */
  messages: readonly Message[]
  prompt?: undefined
}

/**
 * A prompt from a Jinja template, for prompts that a chat template does not fit. The rendered text is continued as if it was
 * given as `prompt`, so the tokenizer adds its beginning-of-sequence token. The template has the features and limits of
 * chat templates, and knows the model's special tokens (`eos_token` and so on).
 *
 * @throws {@link InvalidParamsError} the template is broken, fails or does not end, or never reads one of the variables
 *
 * @example
 * const prompt = { template: '{% for word in words %}{{ word }}, {% endfor %}', variables: { words: ['one', 'two'] } }
 * await engine.generate({ model, prompt })
 */
export interface PromptTemplate {
  template: string
  /** JSON values by name: at most 64, with 65536 values, 4 MiB of text and 48 levels altogether. @default {} */
  variables?: object | undefined
  /** As {@link ChatOptions.specialTokens}, for the variables. @default 'template' */
  specialTokens?: 'template' | 'all' | undefined
}

/** Inputs of a chat template besides the messages. */
export interface ChatOptions {
  /**
   * Functions that the model may call; its chat template shows them to the model. At most 65536 values, 4 MiB of text and
   * 48 levels.
   *
   * @throws {@link InvalidParamsError} the chat template does not support tools, and there is no
   * {@link LoadModelOptions.toolPrompt}
   */
  tools?: readonly Tool[] | undefined
  /**
   * Whether the answer calls `tools`. `'auto'`: the model decides. `'none'`: it calls none; the tools are not shown to the
   * model and cost no tokens. `'required'`: the answer is at least one call and nothing else. `{ name }`, or
   * `{ type: 'function', function: { name } }` as for OpenAI: the answer is one call of this function. `'required'` and
   * `{ name }` enforce valid calls, with arguments that match the tool's `parameters`; the model may reason before. They
   * exclude `structured` and `stopSequences`.
   *
   * Calls are parsed in the format of the model's chat template; docs/tool-calls.md lists the supported formats. They are in
   * `toolCalls` of the result and of chunks. A malformed call stays in the text, with a warning in the result.
   *
   * @default 'auto'
   *
   * @throws {@link InvalidParamsError} there are no `tools`, no tool has that name, or calls in the format of this model
   * cannot be enforced
   * @throws {@link GuidanceError} the `parameters` of a tool cannot be enforced
   */
  toolChoice?:
    | 'auto'
    | 'none'
    | 'required'
    | { name: string }
    | { type: 'function'; function: { name: string } }
    | undefined
  /**
   * Continues the last message instead of starting a new turn: write the start of an answer as a message of the assistant,
   * and the model writes the rest. The prompt ends with the text of that message, without trailing spaces if the template
   * trims messages.
   *
   * @default false
   *
   * @throws {@link InvalidParamsError} the last message has no text, or the template does not render it unchanged
   */
  continueFinalMessage?: boolean | undefined
  /**
   * Variables of the model's chat template, by its own names, such as `{ enable_thinking: false }`. They can also replace
   * special tokens. The limits are those of {@link PromptTemplate.variables}.
   *
   * @default {}
   *
   * @throws {@link InvalidParamsError} the template never reads a variable with that name
   */
  templateVariables?: object | undefined
  /**
   * Which spellings of control tokens, such as `<|im_end|>`, become those tokens. `'template'`: only those that the chat
   * template and messages of the role `'assistant'` contain. In all other messages, in `tools` and in `templateVariables`
   * they are plain text, so that a user or the result of a tool cannot forge a turn. `'all'`: all of them, as in
   * `transformers` and vLLM. The rendered text is the same. docs/prompts.md states the exact guarantee.
   *
   * @default 'template'
   */
  specialTokens?: 'template' | 'all' | undefined
}

/** A value that JSON can express. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/** A function that a model may call. Other properties go to the chat template unchanged. */
export interface Tool {
  type: 'function'
  function: {
    name: string
    /** What it does, for the model to read. */
    description?: string | undefined
    /** A JSON schema of its arguments. */
    parameters?: object | undefined
    [key: string]: unknown
  }
  [key: string]: unknown
}

/** Params that prompts and messages have in common. */
export interface SamplingOptions {
  /** The model: its handle, or its id. */
  model: ModelHandle | string
  /**
   * The answer ends after this many tokens, with finish reason `'length'`.
   *
   * @default 512, or less if the context has less room
   */
  maxTokens?: number | undefined
  /**
   * How random the answer is, from 0 to 2. 0 always takes the most probable token, so that the answer is reproducible.
   *
   * @default the model's `generation_config.json`, else 0
   */
  temperature?: number | undefined
  /**
   * Samples from the smallest set of tokens whose probabilities add up to this, above 0 and up to 1. No effect at
   * temperature 0.
   *
   * @default the model's `generation_config.json`, else 1
   */
  topP?: number | undefined
  /**
   * Samples from this many of the most probable tokens; 0 means all tokens. Tokens as probable as the last one are included.
   * `topK`, `topP` and `minP` look at probabilities before the temperature is applied. No effect at temperature 0.
   *
   * @default the model's `generation_config.json`, else 0
   */
  topK?: number | undefined
  /**
   * Samples from tokens that are at least this times as probable as the most probable one, from 0 to 1. No effect at
   * temperature 0.
   *
   * @default the model's `generation_config.json`, else 0
   */
  minP?: number | undefined
  /**
   * Makes tokens less likely that appeared recently in the prompt or the answer: positive logits are divided by this value,
   * negative ones are multiplied by it. From 0.01 to 10; a value below 1 makes them more likely.
   *
   * @default the model's `generation_config.json`, else 1
   */
  repetitionPenalty?: number | undefined
  /** The number of last tokens that `repetitionPenalty` looks at. @default 20 */
  repetitionContextTokens?: number | undefined
  /** Subtracted from the logit of every token that the answer has so far, from -2 to 2. @default 0 */
  presencePenalty?: number | undefined
  /** Subtracted from the logit of a token for each of its occurrences in the answer, from -2 to 2. @default 0 */
  frequencyPenalty?: number | undefined
  /**
   * Biases that are added to the logits of tokens, by token id. From -100, which all but forbids a token, to 100, which all
   * but forces it. At most 4096 tokens.
   *
   * @default {}
   */
  logitBias?: Record<number, number> | undefined
  /**
   * Reports with each token its log-probability and those of this many most probable tokens, from 0 to 20. They show how
   * certain the model is. They are taken from the model's own distribution: before biases, penalties, temperature and cuts.
   *
   * @default none
   */
  logprobs?: number | undefined
  /**
   * Makes a sampled answer reproducible: it depends on prompt, params and seed only, not on other requests.
   *
   * @default a random seed; the result has it
   */
  seed?: number | undefined
  /**
   * The number of answers to the same prompt, from 1 to 128. Their seeds count up from {@link SamplingOptions.seed}; each
   * answer is the same as that of a single request with its seed. The prompt is computed once. The `index` of a chunk tells
   * its answer; the result has all answers as `choices`. Each answer counts as one request for `scheduler.maxPending`; the
   * prompt counts once for `scheduler.maxPendingTokens`.
   *
   * @default 1
   */
  n?: number | undefined
  /**
   * Forces the answer to match a schema, regular expression, grammar or list of choices. Only tokens that can still match
   * are sampled, so an answer that is not cut short by `maxTokens` matches. The answer ends where nothing may follow. If it
   * is complete but more may follow, an end-of-turn token or one of `stopTokenIds` may end it; these are sampled nowhere
   * else. It takes precedence over `minTokens`, and excludes `stopSequences`.
   *
   * @throws {@link GuidanceError} it is broken, too large, or cannot be enforced
   */
  structured?: Structured | undefined
  /**
   * Texts that end the answer. The answer has no text after the first one that appears. They are ignored in
   * {@link GenerateResult.reasoning}. At most 16, each of 1 to 256 bytes.
   *
   * @default []
   */
  stopSequences?: readonly string[] | undefined
  /**
   * Whether the stop sequence that ended the answer is part of its text. `stopTokenIds` and the model's own end-of-turn
   * tokens never have text, and are always in `tokens`.
   *
   * @default false
   */
  includeStop?: boolean | undefined
  /**
   * Tokens that end the answer, besides those of the model. The token counts, and has no text. At most 4096.
   *
   * @default []
   */
  stopTokenIds?: readonly number[] | Uint32Array | undefined
  /** Whether the model's own end-of-turn tokens do not end the answer. @default false */
  ignoreEos?: boolean | undefined
  /**
   * Tokens that would end the answer are not sampled before it has this many tokens. Stop sequences can still end it. An
   * error if no token could end the answer, as with `ignoreEos` and without `stopTokenIds`.
   *
   * @default 0
   */
  minTokens?: number | undefined
  /**
   * Whether identical requests share this answer. `'auto'`: if it is reproducible, which it is at temperature 0 or with a
   * `seed`. `'force'`: also if it is not; such an answer is shared while it is generated, and for the time of `dedup`.
   * `'off'`: never.
   *
   * @default 'auto'
   */
  cache?: 'auto' | 'off' | 'force' | undefined
  /**
   * Separates callers that must not share answers. Only requests with the same salt share; requests without a salt share
   * with each other. A cached answer arrives sooner than a computed one, so callers that share can find out what others
   * asked. Give each tenant its own salt, and do not take it from what the tenant sends. From 1 to 256 bytes.
   *
   * @default the `tenant` of the options, if there is one
   */
  cacheSalt?: string | undefined
}

/** The form that an answer must have: exactly one of these fields. See docs/structured.md. */
export interface Structured {
  /**
   * The answer is JSON that is valid against this JSON schema (2020-12, and older drafts where they agree with it). `parsed`
   * of the result is its value. At most 256 KiB, 65536 values and 48 levels. A keyword that cannot be enforced is an error.
   */
  schema?: object | undefined
  /** The whole answer matches this regular expression. At most 16 KiB. */
  regex?: string | undefined
  /** The answer matches this grammar, in llguidance's dialect of Lark. At most 256 KiB. */
  grammar?: string | undefined
  /** The answer is one of these texts, none of which is empty. At most 4096 texts with 64 KiB together. */
  choices?: readonly string[] | undefined
}

/** One turn of a conversation. */
export interface Message {
  /** `'system'`, `'user'`, `'assistant'`, `'tool'`, or another role of the model's chat template. */
  role: string
  /**
   * The text. A message with `toolCalls` may have none; a template that fails without it gets an empty text. Parts are
   * passed one by one to a template that supports them, and joined to other templates.
   */
  content?: string | readonly TextPart[] | undefined
  /** The reasoning of the model before the content. Templates get it as `reasoning_content` and `thinking`. */
  reasoning?: string | undefined
  /** The name of the author, for templates that use it. */
  name?: string | undefined
  /** The tool calls of this message. */
  toolCalls?: readonly ToolCall[] | undefined
  /** The `id` of the tool call that this message is the result of. */
  toolCallId?: string | undefined
}

/** A tool call in a message. */
export interface ToolCall {
  id?: string | undefined
  type?: 'function' | undefined
  function: {
    name: string
    /** An object, or the JSON text of one. */
    arguments: string | object
  }
}

/** A tool call in an answer. It can be passed back unchanged in a message. */
export interface GeneratedToolCall {
  /**
   * The id for the message with its result: nine letters and digits, made from the `id` of the request and the position in
   * the answer. If you set the `id` of requests, give each turn of a conversation its own.
   */
  readonly id: string
  readonly type: 'function'
  readonly function: {
    /** The name of one of the `tools`. */
    readonly name: string
    /** The arguments that the model wrote. With `toolChoice: 'auto'` they may not match the schema of the tool. */
    readonly arguments: { readonly [key: string]: Json }
  }
}

/** A piece of a tool call, while it is generated. */
export interface ToolCallDelta {
  /** The index of the call in the answer, from 0. */
  readonly index: number
  /** Only in the first delta of a call. */
  readonly id?: string
  /** Only in the first delta of a call. */
  readonly name?: string
  /** A piece of the JSON text of the arguments, without white space. All pieces of a call together are the whole text. */
  readonly argumentsDelta: string
  /**
   * The call turned out to be malformed: it does not count, and its text follows as text. No delta of it follows. Every call
   * ends with `isComplete` or `isWithdrawn`.
   */
  readonly isWithdrawn?: true
  /** The call is complete: its arguments are valid JSON, and no delta of it follows. */
  readonly isComplete?: true
}

/** A text part of a message. */
export interface TextPart {
  type: 'text'
  text: string
}

/** How a request is run. These options do not change the answer. */
export interface GenerateOptions {
  /**
   * Ends the request at any time: queued, reading its prompt, or decoding. Promise and iterator reject at once with the
   * signal's reason; `onAbort: 'stop'` changes that.
   */
  signal?: AbortSignal | undefined
  /**
   * The deadline in milliseconds from the call: then the request fails with {@link TimeoutError}. Promise and iterator
   * reject at once; the work ends with the running step. A waiting request fails earlier, if reading its prompt alone would
   * take longer than the time that is left.
   *
   * @default none
   */
  timeoutMs?: number | undefined
  /**
   * The priority when requests wait. `'urgent'` runs before all others and takes the row of a less urgent request, which
   * continues later with the same answer. `'background'` runs when no other request waits, and is preempted first when
   * memory is full. A priority that has waited for `scheduler.ageingMs` gets one fifth of the tokens, so that no request
   * waits for ever.
   *
   * @default 'default'
   */
  priority?: 'urgent' | 'default' | 'background' | undefined
  /**
   * The user or customer of the request. When requests wait, tenants of the same priority get equal shares of the tokens,
   * however many requests one of them makes and however long the answers are. At most 256 bytes.
   *
   * @default requests without a tenant count as one tenant
   */
  tenant?: string | undefined
  /**
   * What an abort does. `'throw'`: rejects with the signal's reason. `'stop'`: keeps the tokens so far; the iterator ends,
   * and the result has finish reason `'cancelled'`.
   *
   * @default 'throw'
   */
  onAbort?: 'throw' | 'stop' | undefined
  /**
   * Called while the prompt is read, for example for a progress bar: after each chunk of the prompt, at most 20 times a
   * second, and always once it is complete, before the first chunk of the answer. Not called while the request waits or
   * after its end. A request that joins a running one gets the remaining reports; one whose prompt is not computed gets one
   * report. The `n` answers to a request share one prompt and its reports.
   *
   * The return value is ignored. An error that it throws ends this request with that error, and no other request.
   *
   * @example
   * onProgress: ({ processedTokens, totalTokens }) => bar.update(processedTokens / totalTokens)
   */
  onProgress?: ((progress: PromptProgress) => void) | undefined
  /**
   * A name for this request, from 1 to 256 bytes. {@link Generation.id} and its result have it as `id`; results of requests
   * that share its answer have it as `sharedFrom`.
   *
   * @default a unique name
   */
  id?: string | undefined
}

/** How far a prompt has been read. @see {@link GenerateOptions.onProgress} */
export interface PromptProgress {
  /** Tokens that are processed. Never decreases; at the end it equals `totalTokens`. */
  readonly processedTokens: number
  /** Tokens of the prompt. */
  readonly totalTokens: number
  /** Tokens of the prompt that were not computed for this request. */
  readonly cachedTokens: number
}

/**
 * An answer that is being generated. Await it for the whole answer, or iterate it for chunks; both at the same time work as
 * well. Each `await` gives the same object.
 *
 * It can be read once, by `for await` or as a `ReadableStream`. Leaving the loop early ends the work; an `await` then
 * rejects with {@link CancelledError}. {@link Generation.cancel} ends the work and keeps the tokens so far. A generation is
 * a thenable: an async function that returns one returns its result.
 */
export interface Generation<T = unknown> extends AsyncDisposable {
  /**
   * The name of the request, known at once: {@link GenerateOptions.id}, or a unique one. The result has the same `id`. Of `n`
   * answers it is the name of the first; the answer with index `k` is named `${id}#${k}`.
   */
  readonly id: string
  then<A = GenerateResult<T>, B = never>(
    onfulfilled?: ((result: GenerateResult<T>) => A | PromiseLike<A>) | null,
    // biome-ignore lint/suspicious/noExplicitAny: as in Promise, for handlers that are written for it
    onrejected?: ((error: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B>
  // biome-ignore lint/suspicious/noExplicitAny: as in Promise
  catch<B = never>(onrejected?: ((error: any) => B | PromiseLike<B>) | null): Promise<GenerateResult<T> | B>
  finally(onfinally?: (() => void) | null): Promise<GenerateResult<T>>
  /**
   * @throws {@link InvalidParamsError} it is being read already
   */
  [Symbol.asyncIterator](): ChunkIterator
  /**
   * The chunks as a web stream, which takes one chunk for each read. Cancelling it ends the work. For the body of a
   * response, which has bytes, add two transforms.
   *
   * @throws {@link InvalidParamsError} it is being read already
   *
   * @example
   * const texts = new TransformStream({ transform: ({ text }, controller) => controller.enqueue(text) })
   * const body = generation.toReadableStream().pipeThrough(texts).pipeThrough(new TextEncoderStream())
   * return new Response(body)
   */
  toReadableStream(): ReadableStream<GenerateChunk>
  /** Ends the generation and keeps the tokens so far: finish reason `'cancelled'`. No effect after the end. */
  cancel(): void
  /** Ends a running generation; no more chunks are delivered. An `await` then rejects with {@link CancelledError}. */
  [Symbol.asyncDispose](): Promise<void>
}

/** Reads the chunks of a generation, as `for await` does. `return()` ends the work. */
export interface ChunkIterator extends AsyncIterator<GenerateChunk, void, undefined> {
  [Symbol.asyncIterator](): ChunkIterator
}

/**
 * The new output since the last chunk: usually of one token, of more if the reader was busy. Chunks keep the order in which
 * the model wrote: in a chunk, reasoning comes before text, and text before tool calls. Where text follows a call, a new chunk
 * begins.
 */
export interface GenerateChunk {
  /** The index of the answer among the `n` answers, from 0. */
  readonly index: number
  /**
   * The text of the tokens, in whole characters. It may be empty: a character can take several tokens, and text that may
   * be the start of a stop sequence is held back.
   */
  readonly text: string
  /** The ids of the new tokens. There may be none: in the last chunk, and where a tool call and text came together. */
  readonly tokens: Uint32Array
  /** New reasoning; see {@link GenerateResult.reasoning}. */
  readonly reasoning?: string
  /** New pieces of tool calls. */
  readonly toolCalls?: readonly ToolCallDelta[]
  /** One entry for each of `tokens`, if `logprobs` is set. */
  readonly logprobs?: readonly TokenLogprob[]
  /**
   * Why the answer ended; see {@link GenerateResult.finishReason}. Only the last chunk of an answer has it: one chunk for each
   * of the `n` answers. The last chunk may have neither text nor tokens. An answer that fails, and one whose reader leaves
   * the loop, has no last chunk.
   */
  readonly finishReason?: GenerateResult['finishReason']
}

/** A token and its log-probability. */
export interface TokenProbability {
  readonly tokenId: number
  /**
   * The text of the token by itself. A token may be only a part of a character: then its text has U+FFFD (`\ufffd`) in that
   * place, and `bytes` are exact. A special token, such as the end of a turn, has its name here; it has no text in the answer.
   */
  readonly token: string
  /**
   * The text in UTF-8, in the form of the OpenAI API. The bytes of all tokens together are the text of the answer, except for
   * a space that some tokenizers remove at its start. Absent for a special token.
   */
  readonly bytes?: readonly number[]
  /** The natural logarithm of its probability; `Math.exp(logprob)` is the probability. */
  readonly logprob: number
}

/** The log-probability of a token of an answer, and the most probable tokens at its position. */
export interface TokenLogprob extends TokenProbability {
  /**
   * The most probable tokens, as many as `logprobs` says, most probable first. Of equally probable tokens the one with the
   * smaller id comes first. The token of the answer may be one of them.
   */
  readonly top: readonly TokenProbability[]
}

/** A complete answer. */
export interface GenerateResult<T = unknown> {
  /** The text, without tool calls, reasoning, and the tags around them. */
  readonly text: string
  /**
   * The reasoning of the model before its answer to `messages`: the text between `<think>` and `</think>`, or `[THINK]` and
   * `[/THINK]`, if its chat template has these tags. Absent if there is none.
   */
  readonly reasoning?: string
  /** The tool calls, in order. Absent if there are none. */
  readonly toolCalls?: readonly GeneratedToolCall[]
  /**
   * The value of an answer with `structured.schema` that is complete. It is valid against the schema; whether that makes it
   * a `T` is not checked.
   */
  readonly parsed?: T
  /**
   * Problems of the answer, as sentences: malformed tool calls, and a prompt that {@link LoadModelOptions.toolPrompt} wrote.
   * Absent if there are none.
   */
  readonly warnings?: readonly string[]
  /**
   * The token ids of the answer, including an end-of-turn token. `JSON.stringify` writes a typed array as an object: use
   * `[...tokens]`.
   */
  readonly tokens: Uint32Array
  /** One entry for each of `tokens`, if `logprobs` is set. */
  readonly logprobs?: readonly TokenLogprob[]
  /**
   * Why the answer ended. `'stop'`: the model ended its turn, a stop sequence appeared, or `structured` allows no more.
   * `'tool-calls'`: the same, and the answer has tool calls. `'length'`: `maxTokens` were generated. `'cancelled'`:
   * {@link Generation.cancel}, or an abort with `onAbort: 'stop'`.
   */
  readonly finishReason: 'stop' | 'tool-calls' | 'length' | 'cancelled'
  readonly usage: Usage
  readonly timings: Timings
  /**
   * How this request got its answer. `'computed'`: it was generated for this request. `'coalesced'`: the request joined an
   * identical one that was running. `'cached'`: the answer was in the cache.
   */
  readonly served: 'computed' | 'coalesced' | 'cached'
  /** The name of this request. @see {@link Generation.id} */
  readonly id: string
  /** The name of the request that the answer was generated for, if it is another one. */
  readonly sharedFrom?: string
  /** The seed. With the same params it reproduces the answer. */
  readonly seed: number
  /** All answers in order, if `n` is more than 1. The other fields are those of the first answer. */
  readonly choices?: readonly GenerateResult<T>[]
}

/** Token counts of a request. The sums of `inputTokens - cachedInputTokens` over all requests are what was computed. */
export interface Usage {
  /** Tokens of the rendered prompt. */
  readonly inputTokens: number
  /** Tokens of the prompt that were not computed for this request, but for another answer to the same prompt. */
  readonly cachedInputTokens: number
  /** Tokens of the answer. */
  readonly outputTokens: number
  /** Tokens of the answer that were not generated for this request: all of them, if the answer is shared. */
  readonly cachedOutputTokens: number
  /**
   * Tokens of the answer up to the end of its reasoning, tags included: from its first token to the one with the end of the
   * closing tag, or all tokens with text if the tag is missing. 0 if {@link GenerateResult.reasoning} has no tags in this
   * answer. An opening tag that the prompt has counts as input.
   */
  readonly reasoningTokens: number
  /** `inputTokens` and `outputTokens` together. */
  readonly totalTokens: number
}

/** How long the phases of a request took, in milliseconds. Work that was done before the call does not count. */
export interface Timings {
  /** From the call to the first step with the request, including tokenization. */
  readonly queueMs: number
  /** From that step to the first token. */
  readonly prefillMs: number
  /** From the call to the first token. */
  readonly ttftMs: number
  /** From the first token to the last. */
  readonly decodeMs: number
  /** From the call to the end. */
  readonly totalMs: number
  /** Tokens after the first, per second of decoding. 0 for fewer than two tokens, and for a shared answer. */
  readonly tokensPerSecond: number
}

/** The items of {@link Engine.createGenerator}: one for each token, then one with the metadata. */
export type GeneratorItem<T = unknown> = GeneratorToken | GeneratorMetadata<T>

/** One token. */
export interface GeneratorToken {
  readonly type: 'token'
  readonly tokenId: number
  /**
   * The text that is complete with this token; it may be empty. If the end of an answer releases text that was held back, one
   * more item repeats the last token id with that text.
   */
  readonly token: string
  /** Its log-probability, if `logprobs` is set. @see {@link SamplingOptions.logprobs} */
  readonly logprob?: number
  /** The most probable tokens at its position, if `logprobs` is set. @see {@link TokenLogprob.top} */
  readonly top?: TokenLogprob['top']
  /**
   * `true` if only the metadata follows. The last token may have `false`, because a token is not delayed to find out. Use
   * the metadata item to detect the end.
   */
  readonly isFinal: boolean
}

/** The last item: the result without text, tokens and log-probabilities. */
export interface GeneratorMetadata<T = unknown> {
  readonly type: 'metadata'
  readonly result: Omit<GenerateResult<T>, 'text' | 'tokens' | 'logprobs'>
}

/** @see {@link Engine.tokenize} */
export interface TokenizeParams {
  model: ModelHandle | string
  /** At most 33554432 UTF-16 code units; a text without spaces between its words at most 4 MiB. */
  text: string
}

/** @see {@link Engine.detokenize} */
export interface DetokenizeParams {
  model: ModelHandle | string
  /** At most 1048576. */
  tokens: readonly number[] | Uint32Array
}

/** @see {@link Engine.applyChatTemplate} */
export interface ChatTemplateParams extends ChatOptions {
  model: ModelHandle | string
  messages: readonly Message[]
}

/** Refused requests, by the limit that they exceeded. */
export interface RefusalStats {
  /** The limit of pending requests, `scheduler.maxPending`, or a place that is reserved for an earlier refused caller. */
  readonly pending: number
  /** The longest wait: `scheduler.maxWaitMs`, the request's deadline, or the limit in a lasting overload. */
  readonly wait: number
  /** The limit of pending prompt tokens, `scheduler.maxPendingTokens`. */
  readonly tokens: number
  /** The limit of prompts that wait for tokenization. */
  readonly prompts: number
}

/**
 * Counters since the start of an engine, and its current state. Each of the `n` answers to a request counts as a request.
 * In every sample `submitted` is the sum of `completed`, `failed`, `cancelled`, `rejected`, `preparing`, `queued`, `running`
 * and `joined`. A call that fails before it is submitted, for example because a param is wrong, is not counted.
 */
export interface EngineStats {
  /** Requests submitted. */
  readonly submitted: number
  /** Requests that were accepted. */
  readonly requests: number
  /** Requests that were refused with `OverloadedError`. */
  readonly rejected: RefusalStats
  /** Accepted requests whose answers are complete. */
  readonly completed: number
  /** Accepted requests that were cancelled, aborted or left. */
  readonly cancelled: number
  /** Accepted requests that failed. */
  readonly failed: number
  /**
   * Requests that failed or were refused, by the code of their error. A code without requests is absent. `Overloaded` is the sum
   * of `rejected`; the sum of the others is `failed`.
   */
  readonly errors: Readonly<Partial<Record<ErrorCode, number>>>
  /** Prompt tokens computed. */
  readonly promptTokens: number
  /** Tokens generated. */
  readonly generatedTokens: number
  /** Steps of all models: the sum over `models`, and the steps of models that were unloaded. */
  readonly steps: number
  /** The mean number of sequences in a step. */
  readonly meanBatch: number
  /** How often a stream was parked because its reader was behind. */
  readonly parks: number
  /** How often a device failed and was reset. */
  readonly recoveries: number
  /** Requests whose prompts are being tokenized. */
  readonly preparing: number
  /** Requests that wait for a row of the batch. */
  readonly queued: number
  /** Requests with a row of the batch, including parked ones. */
  readonly running: number
  /** Requests that read the answer of another request, which is queued or running. */
  readonly joined: number
  /** Requests that wait for their reader, or for a more urgent request that has taken their row. */
  readonly parked: number
  /** KV memory in use on the device, in bytes. */
  readonly kvBytes: number
  /** The answer cache. */
  readonly cache: CacheStats
  /** The loaded models, in the order of loading. */
  readonly models: readonly ModelStats[]
  /**
   * Only on a simulated device with a list of answers: the indexes of the answers that were used fewer times than `times`, or
   * never. A test that expects `[]` at its end knows that its code made all requests.
   */
  readonly unusedAnswers?: readonly number[]
}

/** The scheduling of one model. docs/scheduler.md explains how to read it. */
export interface ModelStats {
  /** The id of the model. */
  readonly model: string
  /** Requests that wait for a row of the batch. */
  readonly queued: number
  /** Requests with a row of the batch, including parked ones. */
  readonly running: number
  /** Requests that wait for their reader, or for a more urgent request that has taken their row. */
  readonly parked: number
  /** KV memory in use on the device, in bytes. */
  readonly kvBytes: number
  /** The batch limit: sequences that may be decoded together now. */
  readonly batchLimit: number
  /** Changes of the batch limit. */
  readonly batchLimitChanges: number
  /** How long an idle engine would wait for more requests now, if it expects any. In milliseconds. */
  readonly windowMs: number
  /** The tier of that window. */
  readonly windowTier: WindowTier
  /** Changes of the tier. */
  readonly windowSwitches: number
  /** Samples of the queue depth. */
  readonly windowSamples: number
  /** Requests that were admitted to the batch, by reason. */
  readonly admissions: Readonly<Record<AdmissionReason, number>>
  /** The last 32 admissions, oldest first. */
  readonly recentAdmissions: readonly Admission[]
  /** Sequences that lost their KV memory and were recomputed later. */
  readonly preemptions: number
  /** How often a running sequence was set aside for a more urgent one. It continues later with its KV. */
  readonly setAside: number
  /** Measured time of steps that only decode, by their number of sequences. */
  readonly stepTimes: readonly { readonly rows: number; readonly ms: number }[]
  /** Measured time that prompts add to a step. Absent before the first prompt. */
  readonly prefillCost?: { readonly fixedMs: number; readonly perTokenMs: number }
  /** Steps that ran. A step that failed is not counted. */
  readonly steps: number
  /** Processor time of the engine for these steps, without the device. Divided by `steps` it is the overhead of one step. */
  readonly engineMs: number
  /** Time that the device was idle while there was work for it, in milliseconds. */
  readonly deviceIdleMs: number
  /** The longest of these idle times, in milliseconds. */
  readonly longestDeviceIdleMs: number
}

/** The tier of the window: for a queue depth of at most 1, of 2 to 5, or more. */
export type WindowTier = 'low' | 'medium' | 'high'

/**
 * Why a request was admitted at that time. `'fastPath'`: the engine was idle and no other request waited. `'joined'`: at a
 * step border of a running batch. `'together'`: the engine was idle, several requests waited, and no more were expected.
 * `'full'`: as many requests waited as may run. `'window'`: the window had passed. `'urgent'`: the request was urgent.
 */
export type AdmissionReason = 'fastPath' | 'joined' | 'together' | 'full' | 'window' | 'urgent'

/** The admission of one request to the batch. */
export interface Admission {
  readonly reason: AdmissionReason
  /** Milliseconds that the request had waited. */
  readonly waitedMs: number
  /** Number of waiting requests, this one included. */
  readonly depth: number
  /** The tier of the window. */
  readonly tier: WindowTier
}

/** Statistics of the answer cache since the start of the engine, and its size. */
export interface CacheStats {
  /** Requests that joined a running generation. */
  readonly coalescing: CacheLayerStats
  /** Requests that got an answer which had just ended. */
  readonly dedup: CacheLayerStats
  /** Requests that got an answer from the prompt cache. */
  readonly promptCache: CacheLayerStats
  /** The share of the shareable requests that got the answer of another request, from 0 to 1. */
  readonly sharedRatio: number
  /** Cached answers. */
  readonly entries: number
  /** Tokens of the cached answers. */
  readonly tokens: number
  /** Memory of the cached answers, in bytes. */
  readonly bytes: number
}

/** Look-ups in one layer of the cache. A layer is asked only if the layers before it had no answer. */
export interface CacheLayerStats {
  readonly hits: number
  /** Counted only while the layer is enabled. */
  readonly misses: number
}

/** Stable codes of errors, to act on. */
export type ErrorCode =
  | 'ConfigError'
  | 'InvalidParams'
  | 'ContextLengthExceeded'
  | 'ModelNotFound'
  | 'ModelLoadError'
  | 'ModelNotLoaded'
  | 'UnsupportedModel'
  | 'TokenizerError'
  | 'GuidanceError'
  | 'Overloaded'
  | 'Timeout'
  | 'Cancelled'
  | 'SlowConsumer'
  | 'DownloadError'
  | 'InsufficientMemory'
  | 'BackendError'
  | 'EngineClosed'
  | 'UnsupportedPlatform'

/** The base class of all errors of this package. An abort rejects with the signal's reason instead. */
export declare class MlxServingError extends Error {
  constructor(code: ErrorCode, message: string, details?: ErrorDetails)
  /** What went wrong. Codes do not change between versions. */
  readonly code: ErrorCode
  /** The wrong option or param, with dots between the levels. */
  readonly param?: string
  /** The limit that was exceeded. */
  readonly limit?: number
  /** The requested value, if it exceeded a limit. */
  readonly requested?: number
  /**
   * Whole milliseconds after which to try again. For `Overloaded` it is the caller's slot in a virtual queue: a place is
   * reserved for a caller that returns then, or up to 250 ms later.
   */
  readonly retryAfterMs?: number
  /**
   * What the request had used until it failed, if its generation had started; for `Timeout`, `SlowConsumer`, `BackendError`
   * and other errors that end a running generation. `inputTokens` counts the whole prompt, also if it was not read to its
   * end. Absent for a request that was refused or waited. Of `n` answers, the usage of the one that failed first.
   */
  readonly usage?: Usage
}

/** Fields of an error besides its message. */
export interface ErrorDetails {
  param?: string | undefined
  limit?: number | undefined
  requested?: number | undefined
  retryAfterMs?: number | undefined
  usage?: Usage | undefined
  cause?: unknown
}

/** `ConfigError`: an option is unknown, or the value of an option or an environment variable is not allowed. */
export declare class ConfigError extends MlxServingError {}
/** `InvalidParams`, `ContextLengthExceeded`: a param is wrong. Retrying without a change fails again. */
export declare class InvalidParamsError extends MlxServingError {}
/** `ModelNotFound`, `ModelLoadError`, `ModelNotLoaded`, `UnsupportedModel`, `TokenizerError`: a problem of the model. */
export declare class ModelError extends MlxServingError {}
/** `GuidanceError`: `structured` or `toolChoice` cannot be enforced, or not with this model. */
export declare class GuidanceError extends MlxServingError {}
/** `Overloaded`: the engine accepts no more requests, or the wait would be too long. Try again after `retryAfterMs`. */
export declare class OverloadedError extends MlxServingError {}
/** `Timeout`: the deadline of the request has passed. `usage` has its tokens so far, if it had started. */
export declare class TimeoutError extends MlxServingError {}
/** `Cancelled`: the generation was left before its end. */
export declare class CancelledError extends MlxServingError {}
/** `SlowConsumer`: a stream was not read for too long. `usage` has its tokens so far. */
export declare class SlowConsumerError extends MlxServingError {}
/** `DownloadError`: a model could not be downloaded. Trying again goes on from what has arrived. */
export declare class DownloadError extends MlxServingError {}
/** `InsufficientMemory`, `BackendError`: the device, or the code that drives it, failed. */
export declare class BackendError extends MlxServingError {}
/** `EngineClosed`: the engine is shut down. */
export declare class EngineClosedError extends MlxServingError {}
/** `UnsupportedPlatform`: there is no addon for this platform, or it could not be loaded. */
export declare class UnsupportedPlatformError extends MlxServingError {}
