// The public types of mlx-serving: the truth that lib/ implements and `__test__/types.test-d.ts` holds it to.
// Only what works is declared: an option that is not here is rejected at run time as well. Nothing that is passed is
// changed, and `undefined` in it means absent.

/**
 * Starts an engine: one thread of its own that runs models and batches whatever is asked of it.
 *
 * One engine serves any number of models and concurrent generations; a process rarely needs a second one. Nothing
 * native is loaded before this call. An engine keeps the process alive only while a call is awaited: a generation, the
 * next chunk of a stream, a load, a shutdown.
 *
 * @throws {@link UnsupportedPlatformError} there is no addon for this platform, or it could not be loaded
 * @throws {@link ConfigError} an option is unknown or out of range, or an environment variable of this package is
 * @throws {@link BackendError} the device could not be started
 *
 * @example
 * const engine = await createEngine()
 * const model = await engine.loadModel()
 * const { text } = await engine.generate({ model, prompt: 'Once' })
 */
export declare function createEngine(options?: EngineOptions): Promise<Engine>

/**
 * How an engine is set up. Every field may be left out.
 *
 * An environment variable may stand in for many of them; {@link Engine.config} tells which, and who set what. An option
 * goes over a variable, a variable over the preset, the preset over the defaults.
 */
export interface EngineOptions {
  /**
   * What to tune for: a few requests that are answered early, or many at a time. It changes defaults, nothing else.
   *
   * @default 'balanced'
   */
  preset?: 'latency' | 'balanced' | 'throughput' | undefined
  /**
   * What runs the models: MLX, or a simulated device. A simulated device computes nothing: it answers with
   * deterministic text at the speed of the named profile, so that code which uses this library can be tested on any
   * machine: `'m3-max/llama-3.2-3b-4bit'`, `'m3-max/llama-3.1-8b-4bit'` or `'instant'`. It needs a model folder for its
   * tokenizer only.
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

/** A device that only takes its time. */
export interface SimulatedBackend {
  /**
   * The device and model to be like. `'instant'` takes no time at all; an unknown name is answered with the known ones.
   */
  simulated: string
  /** What goes wrong, to see that the code around it copes. @default [] */
  faults?: readonly SimulatedFault[] | undefined
}

/** A failure of a simulated device. It ends generations of that step with {@link BackendError}; `kind` says which. */
export interface SimulatedFault {
  /** The step that fails, counted from 0 over all that a loaded model does. */
  step: number
  /**
   * The step cannot be started, its tokens cannot be read, or the code that drives the device panics: all generations of
   * the step fail. `'memory'`: the device has not enough for the step; then everything on it is computed again, less at a
   * time, and only a generation that had the device to itself fails. `'logits'`: those of the first generation are NaN, and
   * it alone fails.
   */
  kind: 'submit' | 'collect' | 'panic' | 'memory' | 'logits'
}

/** How generations share the device. */
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
  p99ThresholdMs?: number | undefined
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
  maxQueue?: number | undefined
  /**
   * The most prompt tokens of all pending requests. A request beyond that fails with {@link OverloadedError}, unless it
   * is the only one. From 1 to 1099511627776.
   *
   * @default 4194304
   */
  maxQueueTokens?: number | undefined
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

/** A window in which an idle engine waits for company, and which follows the depth of the queue. */
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

/** A size of batches that follows the measured time of steps. */
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

/** What may be used of the device's memory. */
export interface MemoryOptions {
  /**
   * Memory for the KV caches of all models, in bytes. By default the memory that their weights leave. From 1 to
   * 9007199254740991.
   */
  kvBytes?: number | undefined
}

/** How far a stream may run ahead of the code that reads it. */
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
 * Everything that can be set, under its name as an option, with dots between the levels:
 * `engine.config()['scheduler.batchSize'].value`.
 */
export type EngineConfig = { readonly [name: string]: ConfigValue }

/** What one option is set to. */
export interface ConfigValue {
  /** The effective value; absent where nobody said anything and there is no default. Durations are milliseconds. */
  readonly value?: boolean | number | string
  /** The strongest source that set the value; each overrides those before it in this order. */
  readonly source: 'default' | 'preset' | 'environment' | 'option'
  /** The environment variable that sets it, where there is one. */
  readonly variable?: string
  /** The smallest number it takes; absent for a switch or a name. */
  readonly min?: number
  /** The largest number it takes; absent for a switch or a name. */
  readonly max?: number
  /** The names it takes; absent for a switch or a number. */
  readonly names?: readonly string[]
}

/**
 * Which answers are shared by requests that ask for the same. Each of an answer's three lifetimes has its own switch, and
 * `SamplingOptions.cache` decides for a single request.
 */
export interface CacheOptions {
  coalescing?: CoalescingOptions | undefined
  dedup?: DedupOptions | undefined
  promptCache?: PromptCacheOptions | undefined
}

/** While an answer is being computed. */
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

/** Shortly after an answer was computed. */
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

/** For long after an answer was computed, if computing it again would give the same. */
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
   * A file in which the answers are kept between two lives of the process, readable by its owner alone. It is read by
   * {@link createEngine}, and written when the engine shuts down and some seconds after a change. A file that cannot be
   * read is renamed to end in `.set-aside`, with a process warning. Cannot be changed while the engine runs.
   *
   * @default none: answers are kept in memory alone
   */
  path?: string | undefined
}

/** What an engine keeps of its answers. */
export interface EngineCache {
  /**
   * Changes options while the engine runs; what is not named stays as it is. {@link Engine.config} shows them. Answers that
   * are kept stay, as far as the new options let them; requests that have joined a running one stay with it.
   *
   * @throws {@link ConfigError} an option is unknown or out of range; nothing is changed then
   */
  configure(options: CacheOptions): void
  /** Forgets every answer. Requests that come afterwards do not join what is running either. */
  clear(): void
}

/**
 * A running engine. After {@link Engine.shutdown} every member fails with {@link EngineClosedError}, except the ones
 * that shut down.
 */
export interface Engine extends AsyncDisposable {
  /**
   * Makes a model ready to generate.
   *
   * Without an argument it loads the small demo model that ships with the package. A string is the path of a model
   * folder in Hugging Face layout, or the id of a model that is loaded. Loading a loaded model gives the same handle,
   * and concurrent loads of one model load it once.
   *
   * @throws {@link ModelError} `ModelNotFound`, `ModelLoadError` or `UnsupportedModel`
   * @throws {@link BackendError} `InsufficientMemory`: it does not fit the device
   */
  loadModel(model?: string | LoadModelOptions): Promise<ModelHandle>
  /**
   * Gives a model's memory back: new generations are refused at once, running ones may end first.
   *
   * @throws {@link ModelError} `ModelNotLoaded`
   */
  unloadModel(model: ModelHandle | string): Promise<void>
  /** The loaded models, oldest first. */
  listModels(): ModelHandle[]
  /** The handle of a loaded model; `undefined` for one that is not loaded. */
  getModelInfo(model: ModelHandle | string): ModelHandle | undefined
  /**
   * Generates an answer. The work starts with the call; what comes back can be awaited, iterated, or both.
   *
   * Never throws: whatever is wrong rejects the promise and the iterator. A generation that is neither awaited nor read
   * fails silently. Once it and its iterators have been garbage-collected, its work ends, unless it was awaited.
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
   * The same as {@link Engine.generate} for code that wants one item for each token. The work starts with the first
   * `next()`, and leaving the loop ends it. `return()` and `throw()` do so at once, also where a `next()` is pending.
   */
  createGenerator<T = unknown>(
    params: GenerateParams,
    options?: GenerateOptions,
  ): AsyncGenerator<GeneratorItem<T>, void, undefined>
  /**
   * The token ids of a text, as the model's tokenizer makes them of a plain prompt.
   *
   * @throws {@link ModelError} `TokenizerError` or `ModelNotLoaded`
   * @throws {@link InvalidParamsError} the text is too long
   */
  tokenize(params: TokenizeParams): Promise<Uint32Array>
  /**
   * The text of token ids, special tokens left out.
   *
   * @throws {@link InvalidParamsError} an id is not in the vocabulary, or there are too many
   */
  detokenize(params: DetokenizeParams): Promise<string>
  /**
   * The prompt that {@link Engine.generate} would make of messages, for looking at it.
   *
   * @throws {@link InvalidParamsError} the model has no chat template, or it refuses these messages
   * @throws {@link ModelError} `TokenizerError`: the chat template fails
   */
  applyChatTemplate(params: ChatTemplateParams): Promise<string>
  /** The answers that are shared by requests which ask for the same. */
  readonly cache: EngineCache
  /** What the engine is doing and has done: a snapshot of plain values, cheap enough to take often. */
  stats(): EngineStats
  /**
   * What the engine is set to, and by whom: shows which preset, variable or option took effect. Only
   * {@link EngineCache.configure} changes any of it while the engine runs.
   *
   * @example
   * console.table(engine.config())
   */
  config(): EngineConfig
  /**
   * Stops the engine. New work is refused at once; running generations may end within `drainMs`, and what is left then
   * fails with {@link EngineClosedError}. Calling it again waits for the same end, which comes as soon as any of the
   * calls wanted it.
   *
   * @throws {@link InvalidParamsError} `drainMs` is not a number of milliseconds; the engine goes on
   */
  shutdown(options?: ShutdownOptions): Promise<void>
  /** `shutdown({ drainMs: 0 })`: running generations fail now. What `await using` calls. */
  dispose(): Promise<void>
}

/** What to load. */
export interface LoadModelOptions {
  /** A model folder in Hugging Face layout. @default the demo model of the package */
  path?: string | undefined
}

/** How to stop. */
export interface ShutdownOptions {
  /** Milliseconds running generations have to end. @default 30000 */
  drainMs?: number | undefined
}

/** A model of one engine. */
export interface ModelHandle {
  /** The name by which `model:` may refer to it: the name of its folder. */
  readonly id: string
  /** The folder it was loaded from. */
  readonly path: string
  /** Its architecture, for example `'llama'`. */
  readonly family: string
  /** Prompt and answer together may have this many tokens. */
  readonly contextLength: number
  /** Number of token ids. */
  readonly vocabSize: number
  /** How its weights are packed; absent when they are plain floats. */
  readonly quantization?: { readonly bits: number; readonly groupSize: number }
  /** Memory its weights take, in bytes. */
  readonly bytes: number
  /**
   * What it is computed in. On a CPU that is `'float32'` unless `precision` is `'model'`; a simulated device computes nothing.
   */
  readonly computeType: 'float32' | 'float16' | 'bfloat16' | 'simulated'
  /**
   * Statements of its files that were ignored, each with the file and what is expected there: a default of
   * `generation_config.json` that no request may have, such as a temperature below 0, or an end token that is not in the
   * vocabulary. Empty where there are none.
   */
  readonly warnings: readonly string[]
  /** `'unloaded'` once it was unloaded or its engine shut down. */
  readonly state: 'loaded' | 'unloaded'
}

/** What to generate: exactly one of {@link PromptParams} and {@link MessagesParams}. */
export type GenerateParams = PromptParams | MessagesParams

/**
 * Continue a text, or exactly these token ids; no chat template is applied. Prompt and answer together are one text: an
 * answer that goes on with a new word begins with its space.
 */
export interface PromptParams extends SamplingOptions {
  /**
   * At most 32 MiB of text. A text whose bytes prove that it cannot fit the context is refused before it is copied or
   * tokenized; so are more `tokens` than the context has.
   *
   * @throws {@link InvalidParamsError} `ContextLengthExceeded`
   */
  prompt: string | { tokens: readonly number[] | Uint32Array } | PromptTemplate
  messages?: undefined
}

/**
 * Answer a conversation, rendered with the model's chat template. The answer is a text of its own, without the space that
 * some tokenizers write before the first word; with `continueFinalMessage` it continues that message.
 */
export interface MessagesParams extends SamplingOptions, ChatOptions {
  /** At most 16384 messages, parts of messages and calls, with 32 MiB of text altogether. */
  messages: readonly Message[]
  prompt?: undefined
}

/**
 * A prompt of your own making: the text that a Jinja template becomes is continued as if it had been given as `prompt`,
 * so the tokenizer puts its beginning-of-sequence token before it. The template is Jinja as in chat templates, with their
 * limits, and knows the model's special tokens (`eos_token` and so on).
 *
 * @throws {@link InvalidParamsError} the template is broken, fails or does not end, or a variable is one it never reads
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

/** What a chat template may be told beside the messages. */
export interface ChatOptions {
  /**
   * Functions that the model may call, shown to it by its chat template. With 65536 values, 4 MiB of text and 48 levels
   * at most.
   *
   * @throws {@link InvalidParamsError} the chat template has no place for them
   */
  tools?: readonly Tool[] | undefined
  /**
   * Whether the answer calls `tools`. `'auto'`: the model decides. `'none'`: it does not, and is not shown them either, so
   * that they cost no tokens. `'required'`: it calls at least one, and says nothing else. `{ name }`: it calls this one, once.
   * The last two allow the model only what is such a call, with arguments that are valid against the tool's `parameters`,
   * after reasoning if it likes. They cannot go with `structured` and `stopSequences`.
   *
   * Calls are read out of the answer in the format that the chat template was made for; docs/tool-calls.md lists those that
   * are known. They are in `toolCalls` of the result, and arrive in those of chunks. What is no well-formed call of one of
   * `tools` stays in the text, with a warning in the result.
   *
   * @default 'auto'
   *
   * @throws {@link InvalidParamsError} there are no `tools`, none of that name, or the format of this model's calls is none
   * that can be enforced
   * @throws {@link GuidanceError} `parameters` of a tool say something that cannot be enforced
   */
  toolChoice?: 'auto' | 'none' | 'required' | { name: string } | undefined
  /**
   * The answer goes on where the last message ends, instead of beginning a turn: write the beginning of an answer as an
   * assistant's message, and the model writes the rest. The prompt ends with that text; if the template trims messages,
   * without the spaces at its end.
   *
   * @default false
   *
   * @throws {@link InvalidParamsError} the last message has no text, or the template does not show it as it is
   */
  continueFinalMessage?: boolean | undefined
  /**
   * Switches of the model's chat template, by its own names, such as `{ enable_thinking: false }`. Special tokens can be
   * replaced too. Limited as {@link PromptTemplate.variables}.
   *
   * @default {}
   *
   * @throws {@link InvalidParamsError} the template never reads a variable of that name
   */
  templateVariables?: object | undefined
  /**
   * Which spellings of control tokens, such as `<|im_end|>`, become those tokens. `'template'`: those that the chat template
   * and messages of the role `'assistant'` write. In all other messages, in `tools` and in `templateVariables` they are text
   * like any other, so that a user or the result of a tool cannot forge a turn. `'all'`: all of them, as in `transformers`
   * and vLLM. The rendered text is the same. docs/prompts.md says what exactly is promised.
   *
   * @default 'template'
   */
  specialTokens?: 'template' | 'all' | undefined
}

/** A value that JSON can express. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/** A function that a model may call. What else is there goes to the chat template as it is. */
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

/** What both kinds of params have in common. */
export interface SamplingOptions {
  /** Which model answers: its handle, or its id. */
  model: ModelHandle | string
  /**
   * The answer ends after this many tokens, with finish reason `'length'`.
   *
   * @default 512, or what the context leaves room for
   */
  maxTokens?: number | undefined
  /**
   * How freely tokens are drawn. 0 takes the most probable token each time, so that the answer is reproducible.
   *
   * @default the model's `generation_config.json`, else 0
   */
  temperature?: number | undefined
  /**
   * Draws from the smallest set of tokens whose probabilities add up to this, from above 0 to 1. Without effect at
   * temperature 0.
   *
   * @default the model's `generation_config.json`, else 1
   */
  topP?: number | undefined
  /**
   * Draws from this many of the most probable tokens; 0 from all. Tokens as probable as the last one are kept with it.
   * Like `topP` and `minP` it is judged before the temperature is applied. Without effect at temperature 0.
   *
   * @default the model's `generation_config.json`, else 0
   */
  topK?: number | undefined
  /**
   * Draws from tokens that are at least this times as probable as the most probable one, from 0 to 1. Without effect at
   * temperature 0.
   *
   * @default the model's `generation_config.json`, else 0
   */
  minP?: number | undefined
  /**
   * Makes tokens less likely that appeared recently, in the prompt or the answer: their logits are divided by this where
   * positive and multiplied where negative. From 0.01 to 10; below 1 it makes them more likely.
   *
   * @default the model's `generation_config.json`, else 1
   */
  repetitionPenalty?: number | undefined
  /** How many of the last tokens count as recent. @default 20 */
  repetitionContextTokens?: number | undefined
  /** Taken from the logit of every token that the answer has so far, from -2 to 2. @default 0 */
  presencePenalty?: number | undefined
  /** The same for each time the answer has it, from -2 to 2. @default 0 */
  frequencyPenalty?: number | undefined
  /**
   * Added to the logits of tokens, by token id, from -100 to 100 each: -100 all but forbids a token, 100 all but forces
   * it. At most 4096 tokens.
   *
   * @default {}
   */
  logitBias?: Record<number, number> | undefined
  /**
   * How sure the model is: with each token its log-probability, and those of so many of the most probable tokens, from 0
   * to 20. They are the model's own: as it gives them, before biases, penalties, temperature and cuts. Computed only where
   * they are asked for.
   *
   * @default none
   */
  logprobs?: number | undefined
  /**
   * Makes a drawn answer reproducible: it depends on prompt, params and seed alone, not on what else is running.
   *
   * @default a random one; it is in the result
   */
  seed?: number | undefined
  /**
   * So many answers to the same prompt, drawn with seeds that count up from {@link SamplingOptions.seed}. The prompt is read
   * once, and each answer is what it would be alone with its own seed. Chunks tell whose they are by their `index`; the
   * result has them all as `choices`. Each counts as a request against `scheduler.maxQueue`, and their prompt once against
   * `scheduler.maxQueueTokens`. From 1 to 128.
   *
   * @default 1
   */
  n?: number | undefined
  /**
   * What the answer must be. No token is drawn that would lead away from it, so that an answer which is not cut short by
   * `maxTokens` is what was asked for. It ends where nothing may follow; where it is complete but more may follow, an
   * end-of-turn token or one of `stopTokenIds` may end it, and these are drawn nowhere else. It goes before `minTokens`.
   * Cannot go with `stopSequences`.
   *
   * @throws {@link GuidanceError} it is broken, too large, or says something that cannot be enforced
   */
  structured?: Structured | undefined
  /**
   * Any of these texts ends the answer; nothing after it is in the answer. They are not looked for in
   * {@link GenerateResult.reasoning}. At most 16, each of 1 to 256 bytes.
   *
   * @default []
   */
  stopSequences?: readonly string[] | undefined
  /**
   * The stop sequence that ended the answer is part of its text. It changes nothing about `stopTokenIds` and the model's
   * own end-of-turn tokens: those have no text of their own, and are in `tokens` either way.
   *
   * @default false
   */
  includeStop?: boolean | undefined
  /**
   * Any of these tokens ends the answer, besides those of the model. It is counted; its text is left out. At most 4,096.
   *
   * @default []
   */
  stopTokenIds?: readonly number[] | Uint32Array | undefined
  /** The model's own end-of-turn tokens do not end the answer. @default false */
  ignoreEos?: boolean | undefined
  /**
   * No token that would end the answer is drawn before it has this many; stop sequences may end it. An error where no token
   * could end it, as with `ignoreEos` and without `stopTokenIds`.
   *
   * @default 0
   */
  minTokens?: number | undefined
  /**
   * Whether this request may have the answer of an identical one, and others the answer of this one. `'auto'`: where
   * computing it again would give the same, which is at temperature 0 or with a `seed`. `'force'`: also where another
   * answer would be drawn; one is shared while it is computed and for the time of `dedup`. `'off'`: never.
   *
   * @default 'auto'
   */
  cache?: 'auto' | 'off' | 'force' | undefined
  /**
   * Whose answers may be shared: only requests with the same salt do, and requests without one are among themselves. An
   * answer that is there comes sooner than one that is computed, so whoever may share can find out what others asked.
   * Give each tenant its own, from what you know of the tenant and not from what it sends. From 1 to 256 bytes.
   *
   * @default the `tenant` of the options, if there is one
   */
  cacheSalt?: string | undefined
}

/** What an answer must be: exactly one of these. docs/structured.md says more. */
export interface Structured {
  /**
   * JSON that is valid against this JSON schema (2020-12, and older drafts as far as they say the same); `parsed` of the
   * result is its value. At most 256 KiB, 65536 values and 48 levels. A keyword that cannot be enforced is an error.
   */
  schema?: object | undefined
  /** A text that this regular expression matches from its beginning to its end. At most 16 KiB. */
  regex?: string | undefined
  /** A text of the language that this grammar describes, in llguidance's dialect of Lark. At most 256 KiB. */
  grammar?: string | undefined
  /** One of these texts, none of them empty. At most 4096 with 64 KiB together. */
  choices?: readonly string[] | undefined
}

/** One turn of a conversation. */
export interface Message {
  /** `'system'`, `'user'`, `'assistant'`, `'tool'`, or what else the model's chat template knows. */
  role: string
  /**
   * What is said. A message with `toolCalls` may have none; a template that fails without it is given an empty text. Parts
   * reach the template one by one if it knows parts, and joined otherwise.
   */
  content?: string | readonly TextPart[] | undefined
  /** What the model thought before it said that; `reasoning_content` and `thinking` to templates. */
  reasoning?: string | undefined
  /** Who speaks, for templates that use it. */
  name?: string | undefined
  /** Functions that this message calls. */
  toolCalls?: readonly ToolCall[] | undefined
  /** The `id` of the call whose result this message is. */
  toolCallId?: string | undefined
}

/** A call of a function, as part of a conversation. */
export interface ToolCall {
  id?: string | undefined
  type?: 'function' | undefined
  function: {
    name: string
    /** An object, or the JSON text of one. */
    arguments: string | object
  }
}

/** A call of a function that an answer makes; as it is, it can be given back in a message. */
export interface GeneratedToolCall {
  /**
   * What the message with its result refers to: nine letters and digits, made from the `id` of the request and the place in
   * the answer. Whoever names requests by hand gives each turn of a conversation its own name.
   */
  readonly id: string
  readonly type: 'function'
  readonly function: {
    /** That of one of `tools`. */
    readonly name: string
    /** As the model wrote them: they need not keep to the schema of the tool. */
    readonly arguments: { readonly [key: string]: Json }
  }
}

/** A part of a call, while it is written. */
export interface ToolCallDelta {
  /** Tells the calls of an answer apart; counts up. */
  readonly index: number
  /** With the first delta of a call. */
  readonly id?: string
  /** With the first delta of a call. */
  readonly name?: string
  /** All of a call together are the JSON text of its arguments, without white space. */
  readonly argumentsDelta: string
  /** The last of a call that turned out to be malformed: it does not count, and comes as text. */
  readonly isWithdrawn?: true
}

/** A part of a message. */
export interface TextPart {
  type: 'text'
  text: string
}

/** How one generation is run. Nothing here changes what is generated. */
export interface GenerateOptions {
  /**
   * Ends the generation, wherever it is: queued, reading its prompt, or decoding. Promise and iterator reject at once
   * with the signal's reason, unless `onAbort` says otherwise.
   */
  signal?: AbortSignal | undefined
  /**
   * A deadline: milliseconds from the call after which the generation ends with {@link TimeoutError}. Promise and iterator
   * reject when the time is over; the work ends with the step that runs then. A generation that waits ends so as soon as
   * reading its prompt alone would take longer.
   *
   * @default none
   */
  timeoutMs?: number | undefined
  /**
   * Which request goes first where not all can. `'urgent'` goes before all others and takes the place of a running one that is
   * less urgent, which goes on later with the same answer. `'background'` goes when no other request waits, and is the first
   * to give its memory back. A priority that has waited for `scheduler.ageingMs` gets a fifth of the tokens, so that no
   * request waits for ever.
   *
   * @default 'default'
   */
  priority?: 'urgent' | 'default' | 'background' | undefined
  /**
   * On whose behalf. Tenants with requests of the same priority get equal shares, in tokens, where not all can be served
   * at once, however many requests one of them makes and however long their answers are. At most 256 bytes.
   *
   * @default requests without a tenant share as one
   */
  tenant?: string | undefined
  /**
   * What an abort does. `'throw'` rejects with the signal's reason. `'stop'` keeps what there is: the iterator ends,
   * and the result has finish reason `'cancelled'`.
   *
   * @default 'throw'
   */
  onAbort?: 'throw' | 'stop' | undefined
  /**
   * Called while the prompt is read: after each part of it, but at most 20 times a second, and once it is read, always and
   * before the first piece of the answer. Not called while the request waits, nor after its end. A request that joins one
   * which is running hears of the rest; one whose prompt need not be read hears that once. With `n` answers it is about the
   * prompt they have in common.
   *
   * Its return value is ignored. What it throws ends this generation with just that, and no other.
   *
   * @example
   * onProgress: ({ processedTokens, totalTokens }) => bar.update(processedTokens / totalTokens)
   */
  onProgress?: ((progress: PromptProgress) => void) | undefined
  /**
   * A name for this request, from 1 to 256 bytes. It is in the result, and in the results of those who share its answer.
   *
   * @default one that no other request has
   */
  id?: string | undefined
}

/** How far a prompt has been read. @see {@link GenerateOptions.onProgress} */
export interface PromptProgress {
  /** Never fewer than the last time; in the end as many as `totalTokens`. */
  readonly processedTokens: number
  /** Tokens of the prompt. */
  readonly totalTokens: number
  /** Of these, tokens that did not have to be read for this call. */
  readonly cachedTokens: number
}

/**
 * One answer in the making. Await it for the whole, or iterate it for the pieces; both at once works too, and awaiting
 * again gives the same object.
 *
 * It can be read once, by `for await` or as a `ReadableStream`. Leaving the loop early ends the work, and awaiting it
 * then rejects with {@link CancelledError}; use {@link Generation.cancel} to keep what there is. Note that an async
 * function that returns a generation returns its result: it is a thenable.
 */
export interface Generation<T = unknown> extends AsyncDisposable {
  then<A = GenerateResult<T>, B = never>(
    onfulfilled?: ((result: GenerateResult<T>) => A | PromiseLike<A>) | null,
    // biome-ignore lint/suspicious/noExplicitAny: as in Promise, for handlers that are written for it
    onrejected?: ((error: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B>
  // biome-ignore lint/suspicious/noExplicitAny: likewise
  catch<B = never>(onrejected?: ((error: any) => B | PromiseLike<B>) | null): Promise<GenerateResult<T> | B>
  finally(onfinally?: (() => void) | null): Promise<GenerateResult<T>>
  /**
   * @throws {@link InvalidParamsError} it is being read already
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<GenerateChunk, void, undefined>
  /**
   * The chunks as a web stream that takes one chunk at a time, when it is read. Cancelling it ends the work. The body of
   * a response is made of bytes: two transforms make them.
   *
   * @throws {@link InvalidParamsError} it is being read already
   *
   * @example
   * const texts = new TransformStream({ transform: ({ text }, controller) => controller.enqueue(text) })
   * const body = generation.toReadableStream().pipeThrough(texts).pipeThrough(new TextEncoderStream())
   * return new Response(body)
   */
  toReadableStream(): ReadableStream<GenerateChunk>
  /** Ends it and keeps what there is: finish reason `'cancelled'`. Without effect on one that has ended. */
  cancel(): void
  /** Ends it if it is running; nothing more is delivered. Awaiting it then rejects with {@link CancelledError}. */
  [Symbol.asyncDispose](): Promise<void>
}

/** What was new since the last chunk: usually one token, more when the reader was busy. */
export interface GenerateChunk {
  /** Which of the `n` answers, from 0. */
  readonly index: number
  /**
   * Whole characters only, so it may be empty: a character can take several tokens, and what could be the beginning
   * of a stop sequence is held back.
   */
  readonly text: string
  readonly tokens: Uint32Array
  /** What the model thinks; see {@link GenerateResult.reasoning}. */
  readonly reasoning?: string
  /** What is new in calls of functions. */
  readonly toolCalls?: readonly ToolCallDelta[]
  /** One for each of `tokens`, where they were asked for. */
  readonly logprobs?: readonly TokenLogprob[]
}

/** A token of an answer, and what else the model had in mind. */
export interface TokenLogprob {
  /** The token id. By itself it may be no text, only part of a character: {@link Engine.detokenize} says what it would be. */
  readonly token: number
  /** The natural logarithm of its probability; `Math.exp` makes a probability of it. */
  readonly logprob: number
  /**
   * The most probable tokens, the likeliest first and of equals the one with the smaller id: as many as were asked for.
   * The token of the answer is among them where it is one of these.
   */
  readonly top: readonly { readonly token: number; readonly logprob: number }[]
}

/** A whole answer. */
export interface GenerateResult<T = unknown> {
  /** Without calls of functions, reasoning, and the marks around them. */
  readonly text: string
  /**
   * What the model thought before it answered `messages`: what is between `<think>` and `</think>`, or `[THINK]` and
   * `[/THINK]`, where its chat template knows these tags. Absent where it did not.
   */
  readonly reasoning?: string
  /** The functions that it calls, in order. Absent where there is none. */
  readonly toolCalls?: readonly GeneratedToolCall[]
  /**
   * The value of an answer that was asked for with a schema, if it ended by itself. That it is a `T` is the caller's word:
   * what is known is that it is valid against the schema.
   */
  readonly parsed?: T
  /** What was wrong with the answer, in sentences for people: calls that are malformed. Absent where nothing was. */
  readonly warnings?: readonly string[]
  /**
   * The token ids of the answer, an end-of-turn token included. `JSON.stringify` writes a typed array as an object:
   * give it `[...tokens]`.
   */
  readonly tokens: Uint32Array
  /** One for each of `tokens`, where they were asked for. */
  readonly logprobs?: readonly TokenLogprob[]
  /**
   * `'stop'`: the model ended its turn, a stop sequence appeared, or the answer is all that `structured` allows.
   * `'tool-calls'`: the same, and it calls functions. `'length'`: `maxTokens` were generated. `'cancelled'`:
   * {@link Generation.cancel}, or an abort with `onAbort: 'stop'`.
   */
  readonly finishReason: 'stop' | 'tool-calls' | 'length' | 'cancelled'
  readonly usage: Usage
  readonly timings: Timings
  /**
   * How the answer came to be: computed for this call; by another one that was running and that this one joined; or it was
   * there already.
   */
  readonly served: 'computed' | 'coalesced' | 'cached'
  /** The name of this request. */
  readonly id: string
  /** The request for which the answer was computed, unless it was this one. */
  readonly sharedFrom?: string
  /** The seed that was used; with the same params it reproduces the answer. */
  readonly seed: number
  /** All answers in order, where `n` is more than 1. The other fields are then those of the first. */
  readonly choices?: readonly GenerateResult<T>[]
}

/** Tokens in and out. */
export interface Usage {
  /** Tokens of the prompt, as the model saw it. */
  readonly inputTokens: number
  /** Of these, tokens that did not have to be computed again: they were for another answer to the same prompt. */
  readonly cachedInputTokens: number
  /** Tokens of the answer. */
  readonly outputTokens: number
  /** Of these, tokens that were not generated for this call: all of them where the answer is another one's. */
  readonly cachedOutputTokens: number
}

/** Where the time went, in milliseconds. What happened before this call took none of its time. */
export interface Timings {
  /** From the call until the first step that held the request, tokenization included. */
  readonly queueMs: number
  /** From that step until the first token. */
  readonly prefillMs: number
  /** From the call until the first token. */
  readonly ttftMs: number
  /** From the first token until the last. */
  readonly decodeMs: number
  /** From the call until the end. */
  readonly totalMs: number
  /** Tokens after the first, per second of decoding; 0 for fewer than two tokens, and where the answer is another one's. */
  readonly tokensPerSecond: number
}

/** What {@link Engine.createGenerator} yields: an item for each token, then one with the figures. */
export type GeneratorItem<T = unknown> = GeneratorToken | GeneratorMetadata<T>

/** One token. */
export interface GeneratorToken {
  readonly type: 'token'
  /**
   * The text that became whole with this token; may be empty. Text that was held back until a cancelled end comes with
   * the last token once more.
   */
  readonly token: string
  readonly tokenId: number
  /** Its log-probability, where they were asked for. @see {@link SamplingOptions.logprobs} */
  readonly logprob?: number
  /** The most probable tokens at its place, likewise. @see {@link TokenLogprob.top} */
  readonly top?: TokenLogprob['top']
  /**
   * Nothing follows but the metadata. A token is not held back to find out: one that turns out to have been the last
   * may say `false`, so wait for the metadata instead.
   */
  readonly isFinal: boolean
}

/** The last item: everything of the result but its tokens and what came with them. */
export interface GeneratorMetadata<T = unknown> {
  readonly type: 'metadata'
  readonly stats: Omit<GenerateResult<T>, 'text' | 'tokens' | 'logprobs'>
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

/** Refused generations, by what there was too much of. */
export interface RefusalStats {
  /** Pending generations: `scheduler.maxQueue`, with the places that are kept for refused callers. */
  readonly queue: number
  /** Pending prompt tokens: `scheduler.maxQueueTokens`. */
  readonly tokens: number
  /** Prompts that wait to be tokenized. */
  readonly prompts: number
}

/**
 * What an engine has done since it started, and what it is doing. In every sample `submitted` is the sum of `completed`,
 * `failed`, `cancelled`, those `rejected`, `preparing`, `queued`, `running` and `joined`.
 */
export interface EngineStats {
  /** Generations asked for. */
  readonly submitted: number
  /** Of these, the ones that were accepted. */
  readonly requests: number
  /** Of these, the ones that were refused with `OverloadedError`. */
  readonly rejected: RefusalStats
  /** Of those accepted, the ones that ended by themselves. */
  readonly completed: number
  /** Of these, the ones that were cancelled, aborted or left. */
  readonly cancelled: number
  /** Of these, the ones that ended with an error. */
  readonly failed: number
  /** Prompt tokens computed. */
  readonly promptTokens: number
  /** Tokens generated. */
  readonly generatedTokens: number
  /** Steps of all models. */
  readonly steps: number
  /** Generations in a step, on average. */
  readonly meanBatch: number
  /** Times a stream was parked because its reader was behind. */
  readonly parks: number
  /** Times a device failed and was set up again. */
  readonly recoveries: number
  /** Generations whose prompts are being tokenized. */
  readonly preparing: number
  /** Generations that wait for a place. */
  readonly queued: number
  /** Generations that have one, parked ones included. */
  readonly running: number
  /** Generations that read the answer of another one that is queued or running. */
  readonly joined: number
  /** Generations that wait for their reader, or for a more urgent one that has their place. */
  readonly parked: number
  /** Memory the generations hold on the device, in bytes. */
  readonly kvBytes: number
  /** What sharing answers has brought. */
  readonly cache: CacheStats
  /** How each loaded model is scheduled, in the order of loading. */
  readonly models: readonly ModelStats[]
}

/** How one model is scheduled. docs/scheduler.md says how to read it. */
export interface ModelStats {
  /** The model's id. */
  readonly model: string
  /** Generations that wait for a place. */
  readonly queued: number
  /** Generations that have one, parked ones included. */
  readonly running: number
  /** Generations that wait for their reader, or for a more urgent one that has their place. */
  readonly parked: number
  /** Memory its generations hold on the device, in bytes. */
  readonly kvBytes: number
  /** Generations that may be decoded together now. */
  readonly batchLimit: number
  /** Times that limit moved. */
  readonly batchLimitChanges: number
  /** How long an idle engine would wait for company now, where it expects any. */
  readonly windowMs: number
  /** Which of the three windows that is. */
  readonly windowTier: WindowTier
  /** Times the tier changed. */
  readonly windowSwitches: number
  /** Times the length of the queue was sampled for it. */
  readonly windowSamples: number
  /** Generations that got a place, by why they got it then. */
  readonly admissions: Readonly<Record<AdmissionReason, number>>
  /** The last 32 of them, oldest first. */
  readonly recentAdmissions: readonly Admission[]
  /** Generations that had to give their memory back and were computed again. */
  readonly preemptions: number
  /** Times a running generation was set aside for a more urgent one. It goes on later with what it has. */
  readonly setAside: number
  /** What a step that only decodes was measured to take, by the number of generations in it. */
  readonly stepTimes: readonly { readonly rows: number; readonly ms: number }[]
  /** What prompts were measured to add to a step. Absent before the first. */
  readonly prefillCost?: { readonly fixedMs: number; readonly perTokenMs: number }
  /** Steps run. */
  readonly steps: number
  /** Processor time the engine itself took for them, the device's part excluded. Divided by `steps` it is the cost of a step. */
  readonly engineMs: number
  /** Time the device had nothing to do although there was work for it. */
  readonly deviceIdleMs: number
  /** The longest such time. */
  readonly longestDeviceIdleMs: number
}

/** Which of the three windows is in use: for a queue of at most 1, of 2 to 5, or longer. */
export type WindowTier = 'low' | 'medium' | 'high'

/**
 * Why a generation got its place when it did. `'fastPath'`: the engine was idle and nobody else waited. `'joined'`: at a
 * step border of a running batch. `'together'`: the engine was idle, others waited as well and nobody else was expected.
 * `'full'`: as many waited as may run. `'window'`: the window had passed. `'urgent'`: its priority.
 */
export type AdmissionReason = 'fastPath' | 'joined' | 'together' | 'full' | 'window' | 'urgent'

/** Why and when one generation got its place. */
export interface Admission {
  readonly reason: AdmissionReason
  /** Milliseconds it had waited. */
  readonly waitedMs: number
  /** How many waited, itself included. */
  readonly depth: number
  /** The window's tier. */
  readonly tier: WindowTier
}

/** What sharing answers has brought since the engine started, and what it keeps. */
export interface CacheStats {
  /** Requests that joined a running one. */
  readonly coalescing: CacheLayerStats
  /** Requests that had the answer of one which had just ended. */
  readonly dedup: CacheLayerStats
  /** Requests that had the answer of one which ended longer ago. */
  readonly promptCache: CacheLayerStats
  /** Of the requests that could share, the part for which nothing was computed; from 0 to 1. */
  readonly dedupeRatio: number
  /** The most cached answers. */
  readonly entries: number
  /** Their tokens. */
  readonly tokens: number
  /** Memory they take, in bytes. */
  readonly bytes: number
}

/** How often one lifetime of answers was asked. They are asked in their order, each where those before had nothing. */
export interface CacheLayerStats {
  readonly hits: number
  /** Counted only while it is switched on. */
  readonly misses: number
}

/** What a caller can act on. Stable. */
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
  | 'InsufficientMemory'
  | 'BackendError'
  | 'EngineClosed'
  | 'UnsupportedPlatform'

/** The base of every error this package makes. An abort is not one of them: it rejects with the signal's reason. */
export declare class MlxServingError extends Error {
  constructor(code: ErrorCode, message: string, details?: ErrorDetails)
  /** What went wrong, in a word that does not change between versions. */
  readonly code: ErrorCode
  /** The option or param at fault, with a dot between levels. */
  readonly param?: string
  /** The limit that was broken. */
  readonly limit?: number
  /** What was asked for where a limit was broken. */
  readonly requested?: number
  /**
   * Milliseconds after which to try again, whole. For `Overloaded` they are the caller's slot in a virtual queue: a place is
   * kept for a caller that comes back then or up to a quarter of a second later.
   */
  readonly retryAfterMs?: number
}

/** What an error may say beside its message. */
export interface ErrorDetails {
  param?: string | undefined
  limit?: number | undefined
  requested?: number | undefined
  retryAfterMs?: number | undefined
  cause?: unknown
}

/** `ConfigError`: an option is unknown, or its value or an environment variable's is not one of those it takes. */
export declare class ConfigError extends MlxServingError {}
/** `InvalidParams`, `ContextLengthExceeded`: the call is wrong and will be wrong again. */
export declare class InvalidParamsError extends MlxServingError {}
/** `ModelNotFound`, `ModelLoadError`, `ModelNotLoaded`, `UnsupportedModel`, `TokenizerError`: the model is at fault. */
export declare class ModelError extends MlxServingError {}
/** `GuidanceError`: what `structured` says cannot be enforced, or not with this model. */
export declare class GuidanceError extends MlxServingError {}
/** `Overloaded`: the engine has all the generations or texts that it accepts. Try again after `retryAfterMs`. */
export declare class OverloadedError extends MlxServingError {}
/** `Timeout`: the generation's deadline passed. */
export declare class TimeoutError extends MlxServingError {}
/** `Cancelled`: the generation's reader left before the end. */
export declare class CancelledError extends MlxServingError {}
/** `SlowConsumer`: the generation's reader did not read for too long. */
export declare class SlowConsumerError extends MlxServingError {}
/** `InsufficientMemory`, `BackendError`: the device, or the code that drives it, failed. */
export declare class BackendError extends MlxServingError {}
/** `EngineClosed`: the engine is shut down. */
export declare class EngineClosedError extends MlxServingError {}
/** `UnsupportedPlatform`: there is no addon for this platform, or it could not be loaded. */
export declare class UnsupportedPlatformError extends MlxServingError {}
