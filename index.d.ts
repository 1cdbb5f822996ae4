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
 * const { text } = await engine.generate({ model, messages: [{ role: 'user', content: 'What is 12 + 7?' }] })
 */
export declare function createEngine(options?: EngineOptions): Promise<Engine>

/**
 * Downloads a model of the Hugging Face hub into the cache of the Hugging Face tools, and returns its folder. Use it to prepare
 * an image or a machine, so that `loadModel` needs no network. `loadModel` with the name of a hub model downloads it as well.
 *
 * Only the files that a model is loaded from are downloaded, and only those that the cache does not have, four at a time.
 * A lost connection is tried again. An interrupted download resumes from the bytes that have arrived. Every file is verified by
 * its hash before it is used. Concurrent calls share one download, and processes wait for each other. If the hub cannot be
 * reached, the cached model is used, and a process warning is emitted.
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
 * Every option except `backend` can also be set by an environment variable, such as `MLX_SERVING_MAX_PENDING`, and in a runtime
 * file. An option overrides a variable, a variable overrides the runtime file, the file overrides the preset, and the preset
 * overrides the defaults. {@link Engine.config} shows the effective value of each option, its source and its variable. A variable
 * that begins with `MLX_SERVING_` and is unknown causes one process warning with the code `UnknownVariable`.
 */
export interface EngineOptions {
  /**
   * What to tune for: the latency of a few requests, or the throughput of many. A preset only changes defaults.
   *
   * @default 'balanced'
   */
  preset?: 'latency' | 'balanced' | 'throughput' | undefined
  /**
   * The path of a runtime file: a YAML file with options, for settings that operators change without a change of code.
   * Variables and options override it, and it overrides the preset. The variable `MLX_RUNTIME_CONFIG` names the file as well.
   * docs/configuration.md lists its keys.
   *
   * @default none
   */
  configFile?: string | undefined
  /**
   * What runs the models: MLX, or a simulated device. A simulated device lets you test code that uses this library on any
   * machine. It generates deterministic text at the speed of a profile: `'m3-max/llama-3.2-3b-4bit'`,
   * `'m3-max/llama-3.1-8b-4bit'`, `'m3-max/qwen3-30b-a3b-4bit'`, `'m3-max/gemma-2-27b-4bit'` or `'instant'`. It needs only the
   * tokenizer of a model folder.
   *
   * @default 'mlx'
   */
  backend?: 'mlx' | SimulatedBackend | undefined
  /**
   * Where the engine writes what it does: starts, loads and unloads, faults, refusals for overload, the shutdown; with
   * `MLX_LOG=debug` also each request and the decisions of the scheduler. Messages are single texts without words of prompts or
   * answers. `console` fits, and so do the loggers of pino and winston. The variable `MLX_LOG` sets the level: `off`, `error`,
   * `warn`, `info`, `debug` or `trace`, also for a part of the engine: `info,mlx_serving::scheduler=debug`. Without a logger it
   * writes to standard error. docs/observability.md lists the messages.
   *
   * @default none
   */
  logger?: Logger | undefined
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
  metrics?: MetricsOptions | undefined
  health?: HealthOptions | undefined
  workers?: WorkersOptions | undefined
  modelLifecycle?: ModelLifecycleOptions | undefined
  retry?: RetryOptions | undefined
  circuitBreaker?: CircuitBreakerOptions | undefined
}

/** Receives the messages of an engine. A logger that throws is not used any more, with a process warning. */
export interface Logger {
  /** Each request: its start, its end, its tokens. Admissions and preemptions. With `MLX_LOG=trace` also each step. */
  debug(message: string): void
  /** Starts, loads, unloads, the shutdown, a circuit breaker that closes. */
  info(message: string): void
  /** Refusals for overload, at most one message a second. A circuit breaker that opens. Dropped messages. */
  warn(message: string): void
  /** Failures of the device, of a load or of a download. Each failed step. */
  error(message: string): void
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
 * Each generation uses one answer. Requests that share a generation use one answer together. The `n` answers to a request are
 * taken from a list one after another; a function gives all of them the same answer.
 *
 * @throws {@link ConfigError} from {@link createEngine}: an answer is malformed, or there is also a `cache.promptCache.path`.
 * From a request: no answer fits it, this model cannot write the answer, or `structured` or `toolChoice` of the request does
 * not allow the answer
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
   * The device fails after this many tokens of the answer, and the request fails with {@link BackendError}. From 0 to the number
   * of tokens of the answer. It excludes `finishReason`.
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

/** A failure of a simulated device. `kind` says which requests of the step fail with {@link BackendError}. */
export interface SimulatedFault {
  /** The step that fails, counted from 0 over all steps of the loaded model. */
  step: number
  /**
   * What fails. `'submit'`: the step cannot be started. `'collect'`: its tokens cannot be read. `'panic'`: the driver code
   * panics. In these cases the requests of the step fail, or run again if they have no token yet ({@link RetryOptions}).
   * `'memory'`: the device has not enough memory for the step; all sequences are recomputed with a smaller batch, and only a
   * request that ran alone fails. `'logits'`: the logits of the first sequence are NaN, and only its request fails. `'stall'`:
   * the step takes `ms` longer, and nothing fails unless the step is stuck. `'thread'`: the engine thread ends and is replaced
   * ({@link WorkersOptions}).
   */
  kind: 'submit' | 'collect' | 'panic' | 'memory' | 'logits' | 'stall' | 'thread'
  /** How much longer a step with `'stall'` takes, in milliseconds. From 1 to 3600000. Only with `'stall'`, which needs it. */
  ms?: number | undefined
}

/** Which statistics are exported. */
export interface MetricsOptions {
  /**
   * Whether `engine.metrics()` has the metrics. `engine.stats()` has its figures in any case.
   *
   * @default true
   */
  export?: boolean | undefined
}

/** What counts as a failure of the device. */
export interface HealthOptions {
  /**
   * `engine.health()` reports a step of the device as stuck when it takes longer than this, and more than ten times as long as
   * steps like it took before. From 100 to 3600000.
   *
   * @default 10000
   */
  stuckAfterMs?: number | undefined
}

/** The engine threads, and what happens when one of them is lost. */
export interface WorkersOptions {
  /**
   * Engine threads. Each runs every model, with the weights in common and an equal share of the memory for KV. One thread batches
   * all requests, so it is the fastest on one device; with several, a thread that fails or hangs stops only its own requests.
   * From 1 to 8.
   *
   * @default 1
   */
  count?: number | undefined
  /**
   * Which worker gets a request: the one with the fewest pending requests, or each in turn.
   *
   * @default 'least-busy'
   */
  routing?: 'least-busy' | 'round-robin' | undefined
  /**
   * Whether a request goes to the worker that has read the beginning of its prompt before, if that worker has at most one pending
   * request more than the others.
   *
   * @default true
   */
  sticky?: boolean | undefined
  /**
   * Whether a worker whose step is stuck (`health.stuckAfterMs`) is replaced. Its requests run again if nothing of their answers
   * was delivered; the others fail.
   *
   * @default true
   */
  replaceStuck?: boolean | undefined
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
  /**
   * Memory that this engine may use for weights, KV caches and the rest, in bytes. By default, and at most, the memory
   * of the machine or of the container. Set it where several engines or other programs share the memory. From 1 to
   * 9007199254740991.
   */
  limitBytes?: number | undefined
}

/**
 * When models are loaded and unloaded. A model that was loaded or registered stays known: the next request for it loads it again
 * and waits for that. docs/lifecycle.md explains it.
 */
export interface ModelLifecycleOptions {
  /**
   * How long a model stays loaded after its last request. The next request loads it again. 0 keeps it loaded, and so
   * does `pinModel`. From 0 to 604800000.
   *
   * @default 300000
   */
  idleUnloadMs?: number | undefined
  /**
   * Whether a load that does not fit unloads other models: the least recently used first, and none that is pinned or
   * has work.
   *
   * @default true
   */
  evict?: boolean | undefined
  /**
   * How long `unloadModel` lets running requests go on, if the call does not say. From 0 to 3600000.
   *
   * @default 30000
   */
  drainMs?: number | undefined
  /**
   * Whether every load ends with a short request, so that the first one of a user does not wait for kernels to be
   * compiled.
   *
   * @default false
   */
  warmup?: boolean | undefined
  prefetch?: PrefetchOptions | undefined
}

/** Loading of models before they are asked for. The engine learns which model is asked for after which. */
export interface PrefetchOptions {
  /**
   * Whether an idle engine loads models that will probably be asked for next, as far as memory is free.
   *
   * @default false
   */
  enabled?: boolean | undefined
  /**
   * The least share of the changes from the last model to this one, among all changes from that model, for which it is
   * loaded ahead. From 0.5 to 1.
   *
   * @default 0.7
   */
  minConfidence?: number | undefined
  /**
   * The most models that are loaded ahead and have had no request since. From 1 to 8.
   *
   * @default 2
   */
  maxModels?: number | undefined
}

/**
 * What happens to the requests of a step that failed on the device. Requests without a token of their answer run again after a
 * short wait. Requests with at least one token fail with {@link BackendError}, so that no caller gets a token twice. These
 * options do not apply when the device runs out of memory: then sequences run again with less memory.
 */
export interface RetryOptions {
  /**
   * Whether a request whose step failed on the device runs again. Only before the first token of its answer: no caller
   * gets a token twice.
   *
   * @default true
   */
  enabled?: boolean | undefined
  /**
   * Attempts of a request, the first one included. From 1 to 10.
   *
   * @default 3
   */
  maxAttempts?: number | undefined
  /**
   * The wait before the second attempt. It doubles with each further attempt, and is spread by 25 % so that requests that
   * failed together do not come back together. At most `maxDelayMs`. From 1 to 5000.
   *
   * @default 100
   */
  initialDelayMs?: number | undefined
  /**
   * The longest wait before an attempt, before it is spread. From 100 to 600000.
   *
   * @default 5000
   */
  maxDelayMs?: number | undefined
}

/**
 * Protects callers of a device that keeps failing: each model has a circuit breaker. After too many failures it opens: new
 * requests fail at once with `CircuitOpen` and `retryAfterMs`, and waiting requests wait. After `openMs` the next step decides:
 * if it runs, the breaker closes; if it fails, the breaker opens again.
 */
export interface CircuitBreakerOptions {
  /**
   * Whether a model whose device keeps failing refuses requests with `CircuitOpen` for a while, instead of failing them one
   * by one.
   *
   * @default true
   */
  enabled?: boolean | undefined
  /**
   * The breaker opens after this many failed steps that ended requests with an error, without a complete answer between
   * them. From 1 to 1000.
   *
   * @default 5
   */
  failures?: number | undefined
  /**
   * Failures count for this long. From 1 to 3600000.
   *
   * @default 60000
   */
  windowMs?: number | undefined
  /**
   * How long an open breaker refuses requests. Then the next step decides: it closes the breaker if it runs, and opens it
   * again if it fails. From 1 to 600000.
   *
   * @default 10000
   */
  openMs?: number | undefined
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
 * value of `memory.kvBytes` is the current limit of the KV caches, in bytes. If no source sets it, it depends on the weights of
 * the loaded models. The value of `memory.limitBytes` is the limit in force: at most what the process may use.
 */
export type EngineConfig = { readonly [name: string]: ConfigValue }

/** The effective value of one option. */
export interface ConfigValue {
  /** The value. Absent if no source sets it and it has no default: then there is no limit, or no file. Durations are in ms. */
  readonly value?: boolean | number | string
  /** The source of the value. In the order of this list, each source overrides those before it. */
  readonly source: 'default' | 'preset' | 'file' | 'environment' | 'option'
  /** The runtime file that sets the value, if that is its source. */
  readonly file?: string
  /** The line of the runtime file, counted from 1. */
  readonly line?: number
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
 * What requests share, so that the same work is not done twice. Identical requests share answers, in three layers: joining a
 * running generation, the answer of one that has just ended, and the prompt cache. Requests whose prompts only begin with the
 * same tokens share the KV of these tokens, in the prefix cache. Each layer has its own switch, and
 * {@link SamplingOptions.cache} decides for a single request.
 */
export interface CacheOptions {
  coalescing?: CoalescingOptions | undefined
  dedup?: DedupOptions | undefined
  promptCache?: PromptCacheOptions | undefined
  prefixCache?: PrefixCacheOptions | undefined
}

/**
 * Reusing the KV of prompts and answers: a request computes only the part of its prompt that no earlier request had. So a turn
 * of a chat or of an agent does not compute the whole history again. The answers stay the same.
 */
export interface PrefixCacheOptions {
  /**
   * Whether requests reuse the KV of other requests whose prompts or answers begin with the same tokens, so that each turn of
   * a chat only reads what is new. KV is kept in the memory of `memory.kvBytes` that running requests leave.
   *
   * @default true
   */
  enabled?: boolean | undefined
  /**
   * The fewest tokens that are reused. Shorter beginnings are computed again. From 1 to 1048576.
   *
   * @default 64
   */
  minTokens?: number | undefined
  /**
   * The most tokens of each model whose KV is kept after their requests have ended. Usually `memory.kvBytes` is the lower
   * limit. From 1 to 1099511627776.
   *
   * @default 1000000
   */
  maxTokens?: number | undefined
  /**
   * The largest part of `memory.kvBytes` that the prompts of `cachePrompt` may take, in percent. Requests have the rest. From 0
   * to 75.
   *
   * @default 25
   */
  maxPinnedPercent?: number | undefined
  /**
   * The most bytes of KV in the folder `path`. What was not used for longest is removed first. 0 keeps nothing. From 0 to
   * 1125899906842624.
   *
   * @default 10737418240
   */
  maxDiskBytes?: number | undefined
  /**
   * A folder that keeps KV when the process ends, or when memory has no room for it. It is made if it does not exist. Its files
   * tell what prompts were; only their owner can read them. One engine at a time writes to it, and others read. The path
   * cannot be changed while the engine runs. The variable `MLX_SERVING_PREFIX_CACHE_PATH` sets it as well.
   *
   * @default none: KV is kept in memory only
   */
  path?: string | undefined
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
  /**
   * Removes every answer, the KV of ended requests, also on the disk, and pinned prompts. Later requests do not join generations
   * that are running now.
   */
  clear(): void
}

/**
 * A running engine. After {@link Engine.shutdown} every member fails with {@link EngineClosedError}, except `stats`, `metrics`,
 * `health`, `on`, `once`, `off`, `shutdown` and `dispose`.
 */
export interface Engine extends AsyncDisposable {
  /**
   * Loads a model, so that it can generate.
   *
   * Without an argument it loads the small demo model that ships with the package. A string is the path of a model
   * folder in Hugging Face layout, or the id of a loaded model. Loading a loaded model returns the same handle, and
   * concurrent loads of one model load it once. Streams of other models go on meanwhile. A folder, a `chatTemplate` and a
   * `toolPrompt` together identify a model. The same folder with another `chatTemplate` or `toolPrompt` is another model, with
   * memory of its own, and needs an `id`.
   *
   * @throws {@link InvalidParamsError} an option is wrong: the `id` is taken, the `chatTemplate` does not compile
   * @throws {@link ModelError} `ModelNotFound`, `ModelLoadError` or `UnsupportedModel`
   * @throws {@link BackendError} `InsufficientMemory`: the model does not fit the device, and unloading models without work
   * (`modelLifecycle.evict`) would not make enough room; the message names the models that are pinned or busy
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
   * Makes a model known without loading it: the first request with its id loads it. For a service that offers more models than
   * fit into memory at the same time. Returns the id.
   *
   * A registered model stays known after {@link Engine.unloadModel}. Its handle exists from its first load on.
   *
   * @throws {@link InvalidParamsError} an option is wrong, or the `id` is taken
   * @throws {@link ModelError} `ModelNotFound`: there is no such folder. Other problems of the folder are errors of the load
   *
   * @example
   * await engine.registerModel({ id: 'chat', path: '/models/Qwen3-4B-4bit' })
   * await engine.registerModel({ id: 'code', path: '/models/Qwen2.5-Coder-7B-4bit' })
   * const { text } = await engine.generate({ model: 'code', messages })
   */
  registerModel(model: RegisterModelOptions): Promise<string>
  /**
   * Unloads a model and frees its memory. Running requests may end first, within `drainMs`; the rest then fails with
   * `ModelNotLoaded`. A load that is under way is aborted, and its callers get the same error.
   *
   * A model that was not registered is forgotten: its handle and id are refused at once. A registered model stays known: new
   * requests wait until it is unloaded, and load it again.
   *
   * @throws {@link ModelError} `ModelNotLoaded`: it is not known
   * @throws {@link InvalidParamsError} an option is wrong
   */
  unloadModel(model: ModelHandle | string, options?: UnloadModelOptions): Promise<void>
  /**
   * Loads a model if it is not loaded, and runs a short request on it, so that no user waits for kernels to be compiled.
   *
   * @throws {@link ModelError} `ModelNotLoaded`: it is not known
   * @throws the errors of {@link Engine.loadModel} and of a request
   */
  warmupModel(model: ModelHandle | string): Promise<void>
  /**
   * Keeps a model loaded: it is not unloaded when it is idle, or for another model; only {@link Engine.unloadModel} unloads it.
   * A pinned model that is not loaded is loaded by its next request.
   *
   * @throws {@link ModelError} `ModelNotLoaded`: it is not known
   */
  pinModel(model: ModelHandle | string): void
  /**
   * Undoes {@link Engine.pinModel}.
   *
   * @throws {@link ModelError} `ModelNotLoaded`: it is not known
   */
  unpinModel(model: ModelHandle | string): void
  /**
   * The models that requests may use and that were loaded before, in the order in which they became known. `state` says whether
   * a model is loaded now. Models that were registered and never loaded are in {@link LifecycleStats.models} only.
   */
  listModels(): ModelHandle[]
  /** The handle of a model; `undefined` if it is not known or was never loaded. */
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
   * for await (const chunk of engine.generate({ model, messages }, { signal })) process.stdout.write(chunk.text)
   * @example
   * const { parsed } = await engine.generate<Person>({ model, messages, structured: { schema } })
   */
  generate<T = unknown>(params: GenerateParams, options?: GenerateOptions): Generation<T>
  /**
   * Generates an answer as one item for each token. The work starts with the first `next()` and ends when the loop is left.
   * `return()` and `throw()` end it at once, even while a `next()` is pending. It has one answer, so `n` is 1.
   */
  createGenerator<T = unknown>(
    params: GenerateParams,
    options?: GenerateOptions,
  ): AsyncGenerator<GeneratorItem<T>, void, undefined>
  /**
   * Reads a prompt into the prefix cache and pins it there, for example a system prompt with tools before the first user comes.
   * Any number of requests that begin with it start with its KV, so that they read only the rest. A pinned prompt is not dropped
   * for lack of memory. It stays pinned until `release()` or {@link EngineCache.clear} is called, the prefix cache is turned off,
   * or its model is unloaded; {@link Engine.pinModel} keeps the model loaded. After a failure of the device it is read again.
   *
   * All pinned prompts together take at most `cache.prefixCache.maxPinnedPercent` of the memory for KV. Requests have the rest.
   * `messages` are rendered without the start of an answer (the generation prompt).
   *
   * @throws {@link BackendError} `InsufficientMemory`: the prompt does not fit beside other pinned prompts and accepted requests;
   * the message names the sizes, `limit` and `requested` have them in bytes
   * @throws {@link InvalidParamsError} a param is wrong, or the prompt has fewer tokens than `cache.prefixCache.minTokens`
   * @throws {@link ConfigError} the prefix cache is off
   * @throws {@link CancelledError} the cache was cleared before the prompt was read
   * @throws the errors of a request
   *
   * @example
   * const rules = await engine.cachePrompt({ model, messages: [{ role: 'system', content }], tools })
   * const { usage } = await engine.generate({ model, messages: [{ role: 'system', content }, question], tools })
   * console.log(usage.cachedInputTokens)
   * rules.release()
   */
  cachePrompt(params: CachePromptParams, options?: CachePromptOptions): Promise<CachedPrompt>
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
  /**
   * Compares the prompts of two requests: which tokens they have in common, where they diverge, and why the prefix cache reuses
   * no tokens if it reuses none. `a` is the earlier request. Both are tokenized exactly as by {@link Engine.generate}. Nothing is
   * generated. docs/prefix-cache.md has an example.
   *
   * @throws {@link InvalidParamsError} params are wrong, a prompt does not fit the context, or the models differ; `param` begins
   * with `a` or `b`
   * @throws {@link ModelError} `TokenizerError` or `ModelNotLoaded`
   *
   * @example
   * const { commonTokens, divergesAt } = await engine.comparePrompts({ model, messages: first }, { model, messages: second })
   * console.log(commonTokens, divergesAt?.param, divergesAt?.text)
   */
  comparePrompts(a: GenerateParams, b: GenerateParams, options?: ComparePromptsOptions): Promise<PromptComparison>
  /** The answers that identical requests share. */
  readonly cache: EngineCache
  /**
   * A snapshot of counters and gauges. Cheap enough to call often. It also works while the engine shuts down; afterwards it
   * returns the last snapshot, with the final counters and without models.
   */
  stats(): EngineStats
  /**
   * All metrics as OpenMetrics text, for Prometheus: answer a scrape with it, as `application/openmetrics-text; version=1.0.0;
   * charset=utf-8`. docs/metrics.md explains each metric. Each call reads the same counters as {@link Engine.stats}; after a
   * shutdown it returns the last text. With `metrics.export` off the text has only the gauge `mlx_metrics_export`, which is 0.
   *
   * @example
   * createServer((_, response) => {
   *   response.setHeader('content-type', 'application/openmetrics-text; version=1.0.0; charset=utf-8')
   *   response.end(engine.metrics())
   * }).listen(9464)
   */
  metrics(): string
  /**
   * Whether the engine can serve requests, for the probes of a load balancer or a supervisor. Cheap, and never throws. It returns
   * at once even while the device hangs, because it only reads time stamps and counters.
   *
   * @example
   * const { status, reasons } = engine.health()
   * response.statusCode = status === 'ready' ? 200 : 503
   * response.end(JSON.stringify({ status, reasons }))
   */
  health(): EngineHealth
  /**
   * The effective options and their sources: which preset, variable or option took effect. While the engine runs, only
   * {@link EngineCache.configure} changes them, and a load or unload changes the default of `memory.kvBytes`.
   *
   * @example
   * console.table(engine.config())
   */
  config(): EngineConfig
  /**
   * Stops the engine. New requests are refused at once, and loads and downloads end with {@link EngineClosedError}. Running
   * requests may end within `drainMs`; the rest then fails with the same error. A further call waits for the same shutdown.
   * The earliest deadline of all calls counts.
   *
   * @throws {@link InvalidParamsError} `drainMs` is not a number of milliseconds; the engine goes on
   */
  shutdown(options?: ShutdownOptions): Promise<void>
  /** The same as `shutdown({ drainMs: 0 })`: running requests fail now. `await using` calls it. */
  dispose(): Promise<void>
  /**
   * Calls `listener` whenever something happens: {@link EngineEvents} has the events. Without listeners events cost nothing.
   *
   * Listeners are called synchronously, one after another. An error that one throws is an uncaught exception, as with an
   * `EventTarget`; the engine and the other listeners go on. An `error` event without a listener has no effect.
   *
   * @throws {@link InvalidParamsError} there is no such event, or `listener` is not a function
   *
   * @example
   * engine.on('generation:completed', ({ id, result, error }) => record(id, result?.usage, error))
   */
  on<E extends keyof EngineEvents>(event: E, listener: (event: EngineEvents[E]) => void): this
  /** Like {@link Engine.on}, for the next event only. */
  once<E extends keyof EngineEvents>(event: E, listener: (event: EngineEvents[E]) => void): this
  /** Removes a listener that `on` or `once` has added. */
  off<E extends keyof EngineEvents>(event: E, listener: (event: EngineEvents[E]) => void): this
}

/** The events of an engine, for {@link Engine.on}. */
export interface EngineEvents {
  /** A model was loaded: it can generate. */
  'model:loaded': ModelLoadedEvent
  /** A model was unloaded: its memory is free. */
  'model:unloaded': ModelUnloadedEvent
  /** A request is submitted. The listener is called inside `generate`, in the async context of its caller. */
  'generation:started': GenerationStartedEvent
  /**
   * A request has ended: exactly once for each that has started, also if it was refused, cancelled or failed. The listener is
   * called in the async context of the caller of `generate`. A request that started while nothing listened to `generation:*` or
   * `error`, and nothing was logged, is not reported.
   */
  'generation:completed': GenerationCompletedEvent
  /** The engine has started, is shutting down, or has stopped. */
  'runtime:status': RuntimeStatusEvent
  /**
   * A generation, a load or a download failed for a reason that its caller did not cause: `BackendError`, `InsufficientMemory`,
   * `ModelLoadError` or `DownloadError`. The call itself rejects with the same error.
   */
  error: MlxServingError
}

/** The event `model:loaded`. */
export interface ModelLoadedEvent {
  readonly model: ModelHandle
  /** How long the load took, in milliseconds, without the download. */
  readonly durationMs: number
}

/** The event `model:unloaded`. */
export interface ModelUnloadedEvent {
  readonly model: ModelHandle
  readonly reason: UnloadReason
}

/** The event `generation:started`. */
export interface GenerationStartedEvent {
  /** The id of the generation, as in its result. */
  readonly id: string
  /** The id of the model. */
  readonly model: string
  /** The params as the caller gave them. They were not checked yet. */
  readonly params: Readonly<SamplingOptions> &
    Readonly<ChatOptions> & {
      readonly prompt?: PromptParams['prompt'] | undefined
      readonly messages?: readonly Message[] | undefined
    }
}

/** The event `generation:completed`. It has either a `result` or an `error`. */
export interface GenerationCompletedEvent {
  /** The id of the generation, as in `generation:started`. */
  readonly id: string
  /** The id of the model. */
  readonly model: string
  /** Milliseconds since `generation:started`. */
  readonly durationMs: number
  /** What the generation resolves with. */
  readonly result?: GenerateResult
  /** What the generation rejects with: a {@link MlxServingError}, or the reason of its signal. */
  readonly error?: unknown
}

/** The event `runtime:status`. */
export interface RuntimeStatusEvent {
  /** `'ready'`: soon after {@link createEngine} has resolved. `'draining'`: a shutdown has begun. `'stopped'`: it has ended. */
  readonly status: 'ready' | 'draining' | 'stopped'
}

/** Options of {@link Engine.registerModel}. */
export interface RegisterModelOptions {
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
   * `'owner/name'`. If another folder has the name, `-2` or the next free number is appended.
   *
   * @throws {@link InvalidParamsError} another model has this id, this model is loaded with another id, or no id is given and
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
  /** As {@link Engine.pinModel}. @default false */
  pin?: boolean | undefined
  /** Whether each load of this model ends with a short request. @default `modelLifecycle.warmup` */
  warmup?: boolean | undefined
}

/** Options of {@link Engine.loadModel}. */
export interface LoadModelOptions extends RegisterModelOptions {
  /**
   * Called while the model is downloaded and loaded: at most about 20 times a second, and once at the end of each stage with
   * all bytes, also for a model that is loaded already. Where several callers wait for one load, each gets reports. An
   * error that it throws ends the load for this caller, with that error.
   */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /**
   * Aborts the load. The promise rejects with the signal's reason at once. The memory is freed when the current part of the
   * load ends, usually one tensor; the model can be loaded again meanwhile. If several callers wait for one load, it is
   * aborted only if all of them abort. After the load has ended the signal has no effect.
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

/** Options of {@link Engine.unloadModel}. */
export interface UnloadModelOptions {
  /**
   * Milliseconds that running requests have to end. Of several calls the shortest time counts.
   *
   * @default `modelLifecycle.drainMs`
   */
  drainMs?: number | undefined
  /**
   * Whether the model is not known any more. If false, its handle stays valid, and the next request loads it again.
   *
   * @default true, and false for a model that was registered
   */
  forget?: boolean | undefined
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
  /** What requests of this model may use, to check before the first request. */
  readonly capabilities: ModelCapabilities
  /**
   * Values in its files that were ignored, each with the file and the expected value: for example a default of
   * `generation_config.json` that no request may have, such as a temperature below 0, or an end token that is not in the
   * vocabulary. Empty if there are none.
   */
  readonly warnings: readonly string[]
  /**
   * Whether it is loaded now. The handle follows the model. `'loading'`: a request has asked for it again. `'draining'`: it is
   * being unloaded, and running requests may end. `'unloaded'`: the next request loads it again, unless it was forgotten by
   * {@link Engine.unloadModel} or its engine was shut down.
   */
  readonly state: ModelState
  /** Whether it stays loaded; see {@link Engine.pinModel}. */
  readonly pinned: boolean
  /** When the last request for it began, in milliseconds since 1970; 0 before the first one. */
  readonly lastUsedAt: number
  /** How often it was loaded. */
  readonly loads: number
  /** How often it was unloaded, by reason. */
  readonly unloads: Readonly<Record<UnloadReason, number>>
}

/** @see {@link ModelHandle.state} */
export type ModelState = 'loading' | 'loaded' | 'draining' | 'unloaded'

/**
 * Why a model was unloaded. `'unload'`: by {@link Engine.unloadModel}. `'idle'`: `modelLifecycle.idleUnloadMs` had passed.
 * `'evicted'`: another model needed its memory. `'shutdown'`: its engine was shut down.
 */
export type UnloadReason = 'unload' | 'idle' | 'evicted' | 'shutdown'

/**
 * What requests of a model may use. It is found at load by rendering small chats with the chat template, in the same way as for
 * requests. The object is frozen.
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
 * continues with a new word starts with a space. To ask a chat model, use {@link MessagesParams.messages}: after a plain
 * text it often ends its turn at once. Then the answer has no text, and `warnings` of the result says so.
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
 * given as `prompt`, so the tokenizer adds its beginning-of-sequence token, unless the text begins with it. The template has
 * the features and limits of chat templates, and knows the model's special tokens (`eos_token` and so on).
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
   * exclude `stopSequences`, and `structured` has no effect beside them. With `'auto'` and `structured`, the answer is either
   * such calls or a text as `structured` says.
   *
   * Where calls are enforced, an answer ends where it repeats a call with the same arguments: the repeated call does not
   * count, and a warning in the result says so.
   *
   * Calls are parsed in the format of the model's chat template; docs/tool-calls.md lists the supported formats. They are in
   * `toolCalls` of the result and of chunks. A malformed call stays in the text, with a warning in the result.
   *
   * @default 'auto'
   *
   * @throws {@link InvalidParamsError} there are no `tools`, no tool has that name, or calls would have to be enforced, which is
   * not possible in the format of this model
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
   * Whether an answer may have several tool calls. `false`: it ends after its first complete call, so that the model sees
   * the result before it makes the next call. A named `toolChoice` gives one call in any case.
   *
   * @default true
   *
   * @throws {@link InvalidParamsError} there are no `tools`
   */
  parallelToolCalls?: boolean | undefined
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
   * @default the model's `generation_config.json`, which means 1 if it has `do_sample` and no temperature; else 0
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
   * Samples from tokens with at least this fraction of the probability of the most probable token, from 0 to 1. No effect at
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
   * Beside `tools`, the answer either matches or is tool calls; {@link ChatOptions.toolChoice} can exclude one of the two.
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
   * `'off'`: never; the request also neither uses nor leaves KV in the prefix cache.
   *
   * @default 'auto'
   */
  cache?: 'auto' | 'off' | 'force' | undefined
  /**
   * Separates callers that must not share answers or KV. Only requests with the same salt share; requests without a salt share
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
    /**
     * The arguments that the model wrote. With `toolChoice: 'auto'` and without `structured`, they may not match the schema
     * of the tool.
     */
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
   * The call does not count, and no delta of it follows: it turned out to be malformed, and its text follows as text; or it
   * repeats an earlier call. Every call ends with `isComplete` or `isWithdrawn`.
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
   * a `T` is not checked. Absent if the answer is tool calls instead.
   */
  readonly parsed?: T
  /**
   * Problems of the answer, as sentences: a tool call that is malformed, cut off by `maxTokens` or repeated; no text,
   * because a chat model got a plain text as its prompt; a prompt that {@link LoadModelOptions.toolPrompt} wrote. Absent if
   * there are none.
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

/** Token counts of a request. Summed over all requests, `inputTokens - cachedInputTokens` counts the computed prompt tokens. */
export interface Usage {
  /** Tokens of the rendered prompt. */
  readonly inputTokens: number
  /**
   * Tokens of the prompt that were not computed for this request: all of them if the answer is shared, otherwise the tokens at
   * the beginning whose KV an earlier request has left.
   */
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
   * `true` if only the metadata follows. The last token may have `false`, because a token is delivered before the engine knows
   * whether another one follows. Use the metadata item to detect the end.
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

/** The prompt of {@link Engine.cachePrompt}, as {@link Engine.generate} takes it. */
export type CachePromptParams = Pick<PromptParams, 'model' | 'prompt' | 'messages' | 'cacheSalt'> | CacheMessagesParams

/** A conversation, or the beginning of one. */
export interface CacheMessagesParams
  extends Pick<MessagesParams, 'model' | 'messages' | 'prompt' | 'cacheSalt'>,
    ChatOptions {}

/** Options of {@link Engine.cachePrompt}. The `tenant` is the default of `cacheSalt`, as for a request. */
export interface CachePromptOptions
  extends Pick<GenerateOptions, 'signal' | 'timeoutMs' | 'priority' | 'tenant' | 'onProgress' | 'id'> {}

/** A pinned prompt. It lasts until it is released: also if nothing refers to this object. */
export interface CachedPrompt extends Disposable {
  /** Tokens of the prompt. */
  readonly tokens: number
  /** Memory of its KV in bytes; 0 on a device whose KV takes no memory. Equal prompts share it. */
  readonly bytes: number
  /** Ends the pinning. The KV stays for later requests like that of any other prompt. Further calls have no effect. */
  release(): void
}

/** @see {@link Engine.comparePrompts} */
export interface ComparePromptsOptions {
  /** How many tokens before and after the divergence are shown. From 0 to 256. @default 16 */
  aroundTokens?: number | undefined
}

/** What two prompts have in common. */
export interface PromptComparison {
  /** Number of tokens of each prompt. */
  readonly tokens: readonly [a: number, b: number]
  /** With how many equal tokens both begin. */
  readonly commonTokens: number
  /**
   * How many tokens of `b` are not computed again while the KV of `a` is kept. The last token of a prompt is always computed.
   * What `a` answered is not counted: a prompt that goes on with the answer reuses more.
   */
  readonly reusableTokens: number
  /** The fewest tokens that are reused, `cache.prefixCache.minTokens`. */
  readonly minTokens: number
  /**
   * Why no token is reusable: the cache is off (`disabled`), the requests have different values of `cacheSalt` (`salt`), a prompt
   * has too few tokens (`short`), the prompts differ before `minTokens` (`diverged`), or layers with a sliding window no longer
   * have the common tokens (`window`). Absent if some tokens are reusable.
   */
  readonly reason?: 'disabled' | 'salt' | 'short' | 'diverged' | 'window'
  /** The first place at which the prompts differ. Absent if one of them begins with the whole other one. */
  readonly divergesAt?: PromptDivergence
}

/** The first place at which two prompts differ. */
export interface PromptDivergence {
  /** Position of the first token that differs: `commonTokens`. */
  readonly token: number
  /** The common text before it. A character whose tokens are cut is U+FFFD. */
  readonly before: string
  /** The text of each prompt from there on. Special tokens are shown by their names. */
  readonly text: readonly [a: string, b: string]
  /**
   * The param that differs there, such as `messages[0].content` or `tools[2].function.description`. Absent if the text around the
   * place does not prove which one it is, for instance because the chat template changes it.
   */
  readonly param?: string
}

/** Refused requests, by the limit that they exceeded. */
export interface RefusalStats {
  /** The limit of pending requests, `scheduler.maxPending`. Places that are reserved for refused callers count as pending. */
  readonly pending: number
  /** The longest wait: `scheduler.maxWaitMs`, the request's deadline, or the limit in a lasting overload. */
  readonly wait: number
  /** The limit of pending prompt tokens, `scheduler.maxPendingTokens`. */
  readonly tokens: number
  /** The limit of prompts that wait for tokenization. */
  readonly prompts: number
  /** The circuit breaker of the model was open ({@link CircuitBreakerOptions}). These requests fail with `CircuitOpen`. */
  readonly circuit: number
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
  /** Requests that were refused. Those in `circuit` failed with `CircuitOpen`, all others with `Overloaded`. */
  readonly rejected: RefusalStats
  /** Accepted requests whose answers are complete. */
  readonly completed: number
  /** Accepted requests that were cancelled, aborted or left. */
  readonly cancelled: number
  /** Accepted requests that failed. */
  readonly failed: number
  /**
   * Requests that failed or were refused, by the code of their error. A code without requests is absent. `Overloaded` and
   * `CircuitOpen` are counted in `rejected`, the others in `failed`.
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
  /** The smallest number of sequences in a step; 0 before the first step. */
  readonly minBatch: number
  /** The largest number of sequences in a step. */
  readonly maxBatch: number
  /** Percentiles of latencies since the start. */
  readonly latency: LatencyStats
  /** Tokens generated per second. */
  readonly tokensPerSecond: RateStats
  /** How often a stream was parked because its reader was behind. */
  readonly parks: number
  /** How often a device failed and was reset. */
  readonly recoveries: number
  /** Attempts of requests after failed steps of a device ({@link RetryOptions}). */
  readonly retries: number
  /** How often a circuit breaker opened ({@link CircuitBreakerOptions}). */
  readonly circuitOpened: number
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
  /** Memory in use. */
  readonly memory: MemoryStats
  /** Loads and unloads of models. */
  readonly lifecycle: LifecycleStats
  /** The answer cache. */
  readonly cache: CacheStats
  /** The engine threads. */
  readonly workers: readonly WorkerStats[]
  /** The loaded models, in the order of loading, on all workers together. */
  readonly models: readonly ModelStats[]
  /**
   * Only on a simulated device with a list of answers: the indexes of the answers that were used fewer times than `times`, or
   * never. A test that expects `[]` at its end knows that its code made all requests.
   */
  readonly unusedAnswers?: readonly number[]
}

/** One engine thread ({@link WorkersOptions}). */
export interface WorkerStats {
  /** Whether it runs. */
  readonly running: boolean
  /** Its requests that have not ended. */
  readonly pending: number
  /** Requests that it got. */
  readonly requests: number
  /** How often it was replaced, because it ended or hung. */
  readonly restarts: number
}

/** Memory in use, in bytes. */
export interface MemoryStats {
  /** Weights of all models of this engine that are loaded or being loaded. */
  readonly weightBytes: number
  /** What is left for the weights of further models. */
  readonly freeWeightBytes?: number
  /**
   * What MLX has allocated for all engines of this process: KV, the work of a step, and weights, except those that a CPU
   * computes with in float32. Absent if the device is simulated.
   */
  readonly deviceBytes?: number
  /** Freed memory that MLX keeps for reuse. Absent if the device is simulated. */
  readonly deviceCachedBytes?: number
}

/** Counters of the lifecycle of models since the start of an engine, and its current state. */
export interface LifecycleStats {
  /** Calls that found their model loaded. */
  readonly hits: number
  /**
   * Calls that had to wait for their model. `hits / (hits + misses)` should be above 0.9: otherwise too many models share the
   * memory.
   */
  readonly misses: number
  /** Loads and reloads that succeeded. */
  readonly loads: number
  /** Loads that failed or were aborted. */
  readonly failedLoads: number
  /** Unloads by reason. */
  readonly unloads: Readonly<Record<UnloadReason, number>>
  /** Models that were loaded ahead. */
  readonly prefetches: number
  /** How often a request used a model that was loaded ahead. Each prefetch counts once. */
  readonly usedPrefetches: number
  /** All models that requests may use, in the order in which they became known. */
  readonly models: readonly KnownModelStats[]
}

/** One model that requests may use. */
export interface KnownModelStats {
  /** The id of the model. */
  readonly model: string
  readonly state: ModelState
  readonly pinned: boolean
  /** Whether it was registered: then it stays known after {@link Engine.unloadModel}. */
  readonly registered: boolean
  /** Memory of its weights now, in bytes; 0 while it is not loaded. */
  readonly bytes: number
  /** @see {@link ModelHandle.lastUsedAt} */
  readonly lastUsedAt: number
  /** How often it was loaded. */
  readonly loads: number
  /** How often it was unloaded, by reason. */
  readonly unloads: Readonly<Record<UnloadReason, number>>
}

/** The health of an engine. */
export interface EngineHealth {
  /**
   * `'ready'`: it serves requests. `'live'`: it runs, and knows no model. `'degraded'`: it runs, and requests are refused or wait
   * for too long. `'down'`: it does not accept requests any more; create another engine. The worst of its reasons decides.
   */
  readonly status: 'ready' | 'live' | 'degraded' | 'down'
  /** Everything that is wrong, the worst first. Empty if it is ready. */
  readonly reasons: readonly HealthReason[]
}

/** Why an engine is not ready. */
export interface HealthReason {
  /**
   * `'noModel'`: no model is known. `'queueFull'`: as many requests are pending as `scheduler.maxPending` allows.
   * `'stuckStep'`: the device does not finish a step; see {@link HealthOptions.stuckAfterMs}. `'circuitOpen'`: the circuit
   * breaker of a model refuses its requests; see `circuitBreaker.failures`. `'closed'`: the engine is shut
   * down, or shutting down. `'engineStopped'`: its thread has ended after an internal error.
   */
  readonly code: 'noModel' | 'queueFull' | 'stuckStep' | 'circuitOpen' | 'closed' | 'engineStopped'
  /** A sentence about it. */
  readonly message: string
  /** The id of the model, for `'stuckStep'` and `'circuitOpen'`. */
  readonly model?: string
}

/**
 * Latencies of all models since the start of the engine. A field without a measurement is absent. Percentiles are computed from
 * the histograms of {@link Engine.metrics}, and interpolated between the bounds of a bucket.
 */
export interface LatencyStats {
  /** From the submission of a request to its first step. Only requests that were computed. */
  readonly queue?: Percentiles
  /** From the submission of a request to its first token. */
  readonly ttft?: Percentiles
  /** Between two tokens of an answer. */
  readonly interToken?: Percentiles
  /** From the submission of a request to the end of its complete answer. */
  readonly request?: Percentiles
}

/** Percentiles in milliseconds: 50, 95 and 99 % of the values are not longer. */
export interface Percentiles {
  readonly p50Ms: number
  readonly p95Ms: number
  readonly p99Ms: number
}

/** Means over the last whole seconds. A window that is longer than the engine has run counts the time before as zero. */
export interface RateStats {
  readonly last5s: number
  readonly last30s: number
  readonly last60s: number
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
  /** Attempts of requests after failed steps of the device ({@link RetryOptions}). */
  readonly retries: number
  /**
   * The circuit breaker: `'closed'`: requests run; `'open'`: requests are refused; `'half-open'`: the next step decides
   * ({@link CircuitBreakerOptions}).
   */
  readonly circuit: 'closed' | 'open' | 'half-open'
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
  /** Requests that started with KV of another request. They are not part of `sharedRatio`. */
  readonly prefix: PrefixCacheStats
  /** KV on the disk. Absent without `cache.prefixCache.path`. */
  readonly disk?: DiskCacheStats | undefined
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

/** Reuse of KV between requests that begin with the same tokens. */
export interface PrefixCacheStats {
  /** Requests that started with KV of another request, the `n` answers of one request included. */
  readonly hits: number
  /** Requests that started without reused KV, by reason. */
  readonly misses: PrefixCacheMisses
  /** Prompt tokens whose KV was reused. */
  readonly tokensReused: number
  /** Prompt tokens that were computed, of the hits and of all misses except `disabled`. */
  readonly tokensComputed: number
  /** Kept sequences that were dropped, because the limit of tokens was reached or running requests needed their memory. */
  readonly evictions: number
  /** Sequences whose KV is kept after their requests have ended. */
  readonly entries: number
  /** Tokens of these sequences. */
  readonly tokens: number
  /** KV of these sequences, in bytes. 0 on a device whose KV takes no memory. */
  readonly bytes: number
  /** The prompts of {@link Engine.cachePrompt}, which are among the sequences. */
  readonly pinned: PinnedPromptStats
  /** The last 32 requests that started without, oldest first. */
  readonly recentMisses: readonly PrefixCacheMiss[]
}

/** Pinned prompts that were not released. */
export interface PinnedPromptStats {
  /** Their number. */
  readonly prompts: number
  /** Their tokens. Equal prompts count once. */
  readonly tokens: number
  /** Their KV, in bytes. */
  readonly bytes: number
}

/** A request that found no KV to start with. {@link Engine.comparePrompts} shows where its prompt and another one diverge. */
export interface PrefixCacheMiss {
  /** The request: {@link Generation.id}. */
  readonly requestId: string
  /** The id of its model. */
  readonly model: string
  readonly reason: keyof PrefixCacheMisses
  /**
   * Number of equal tokens at the beginning of its prompt and of the most similar kept or running one. With the reason
   * `diverged`, the token at position `matchedTokens` is the first that differs.
   */
  readonly matchedTokens: number
  /** Tokens of its prompt. */
  readonly promptTokens: number
}

/** The files of the prefix cache (`cache.prefixCache.path`). Each file has a block of KV. */
export interface DiskCacheStats {
  /** Requests that started with KV from the disk. */
  readonly hits: number
  /** Requests whose beginning was neither in memory nor on the disk. Prompts that are shorter than a block are not counted. */
  readonly misses: number
  /** Requests whose beginning was on the disk, but was computed again because that was faster. */
  readonly skipped: number
  /** Prompt tokens whose KV was read from the disk and used. */
  readonly tokensReused: number
  /** Blocks that were read. */
  readonly reads: number
  /** Bytes that were read. */
  readonly readBytes: number
  /** Blocks that were written. */
  readonly writes: number
  /** Bytes that were written. */
  readonly writtenBytes: number
  /** Blocks that were removed because the folder was full. */
  readonly evictions: number
  /** Damaged files, and reads and writes that failed. */
  readonly errors: number
  /** Blocks in the folder. */
  readonly blocks: number
  /** Bytes of their files. */
  readonly bytes: number
}

/** Why requests found no KV to start with. */
export interface PrefixCacheMisses {
  /** The prompt has no more than `cache.prefixCache.minTokens` tokens. */
  readonly short: number
  /** No prompt began with the same token. */
  readonly new: number
  /** The prompt differs from all others before `minTokens` tokens: something at its beginning changes, such as a date. */
  readonly diverged: number
  /** Only requests with another `cacheSalt` begin with the same tokens. */
  readonly salt: number
  /** The KV was dropped: there was too little memory. */
  readonly evicted: number
  /** Layers with a sliding window no longer have the positions. */
  readonly window: number
  /** The prefix cache is off, or the request has `cache: 'off'`. */
  readonly disabled: number
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
  | 'CircuitOpen'
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
/** `InsufficientMemory`, `BackendError`, `CircuitOpen`: the device, or the code that drives it, failed. */
export declare class BackendError extends MlxServingError {}
/** `EngineClosed`: the engine is shut down. */
export declare class EngineClosedError extends MlxServingError {}
/** `UnsupportedPlatform`: there is no addon for this platform, or it could not be loaded. */
export declare class UnsupportedPlatformError extends MlxServingError {}
