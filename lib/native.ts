// What the addon exports, as lib/ sees it. The addon never throws what it means: an error is a returned `NativeError`,
// which lib/errors.ts turns into a class. Not part of the public API.

import type { ConfigValue, EngineStats, ModelHandle, ModelStats } from '../index'

/** An error as it crosses from Rust: plain data with a stable code. */
export interface NativeError {
  code: string
  message: string
  param?: string
  limit?: number
  requested?: number
  retryAfterMs?: number
  /** The messages of the errors underneath, outermost first. */
  causes?: string[]
}

export interface NativeModelInfo {
  /** Addresses the model in later calls. */
  key: number
  id: string
  path: string
  family: string
  contextLength: number
  vocabSize: number
  bytes: number
  computeType: ModelHandle['computeType']
  quantization?: { bits: number; groupSize: number }
  warnings: string[]
}

/** The end of one answer. Exactly one of `error` and `result` is there. */
export interface NativeEnd {
  reader: number
  error?: NativeError
  result?: NativeResult
}

/** What came with a span besides its text. */
export interface NativeSaid {
  /** Which of the spans. */
  span: number
  reasoning: string
  calls: NativeCallDelta[]
}

export interface NativeCallDelta {
  index: number
  /** With the first delta of a call. */
  id?: string
  name?: string
  arguments: string
  isWithdrawn: boolean
}

/** Log-probabilities of pieces of answers, packed: for each token its own, then those of the most probable ones. */
export interface NativeLogprobs {
  /** How many each token of a piece has; 0 where its reader did not ask. */
  perToken: Uint32Array
  tokens: Uint32Array
  values: Float32Array
}

export interface NativeResult {
  text: string
  reasoning?: string
  /** `arguments` is JSON text. */
  calls?: { id: string; name: string; arguments: string }[]
  warnings?: string[]
  tokens: Uint32Array
  /** There where they were asked for. */
  logprobs?: NativeLogprobs
  finishReason: string
  inputTokens: number
  cachedInputTokens: number
  outputTokens: number
  cachedOutputTokens: number
  queueMs: number
  prefillMs: number
  ttftMs: number
  decodeMs: number
  totalMs: number
  served: string
  id: string
  sharedFrom?: string
  seed: number
}

/** Everything that is new since the last drain, for all readers, packed. */
export interface Drained {
  /** Triples: reader, number of its tokens, number of its UTF-16 code units; its tokens and text follow in order. */
  spans: Uint32Array
  tokens: Uint32Array
  text: string
  said: NativeSaid[]
  ended: NativeEnd[]
  /**
   * Quadruples: reader, tokens of its prompt that were read, all of them, and those that were there. Before anything else of
   * that reader; there where somebody asked.
   */
  progress?: Uint32Array
  /** Those of all spans, in their order; there where somebody asked. */
  logprobs?: NativeLogprobs
}

/** Counters and gauges; what they mean is in index.d.ts. */
export type NativeStats = Omit<EngineStats, 'models'> & { models: NativeModelStats[] }

export type NativeModelStats = Omit<ModelStats, 'model'> & { key: number }

/** What one knob is set to; what the fields mean is in index.d.ts. */
export interface NativeSetting extends ConfigValue {
  name: string
}

/** One line of the table of knobs: how it is called, what it takes, its defaults and what it does. */
export interface NativeKnob {
  name: string
  variable?: string
  isSwitch: boolean
  /** Of names, all of them. */
  names?: string[]
  /** Of numbers, both included. */
  min?: number
  max?: number
  default?: boolean | number | string
  /** Under the preset of that name, where it differs. */
  latency?: boolean | number | string
  throughput?: boolean | number | string
  text: string
}

export interface NativeEngine {
  /**
   * Starts the engine thread; reads the options once, synchronously. `environment` holds the variables that may be ours.
   * Resolves with the effective settings, or with the reason why it could not. Called once.
   */
  start(options: unknown, environment: NodeJS.ProcessEnv, memoryBytes: number): Promise<NativeSetting[] | NativeError>
  /** `path` absent: the path of the demo model is given by lib/. */
  loadModel(options: unknown): Promise<NativeModelInfo | NativeError>
  unloadModel(model: number): Promise<NativeError | undefined>
  /**
   * Reads the two option objects once, synchronously; returns the id of a reader for each answer that is asked for. Prompt
   * work happens elsewhere.
   */
  submit(model: number, params: unknown, options: unknown): number[] | NativeError
  /** From now on this reader's text is part of drains, from its beginning. Until then only its end is. */
  stream(reader: number): void
  /** The consumer took this many tokens. A row without credit is parked until more comes. */
  credit(reader: number, tokens: number): void
  /** Ends the generation; the reader gets what there is, with finish reason `cancelled`. */
  cancel(reader: number): void
  /** Nobody reads any more: the work ends within a step and nothing more is delivered. Unknown ids are ignored. */
  release(reader: number): void
  /** Synchronous; called once a wake. */
  drain(): Drained
  tokenize(model: number, text: string): Promise<Uint32Array | NativeError>
  detokenize(model: number, tokens: Uint32Array): Promise<string | NativeError>
  /** Reads the params once, synchronously. */
  applyChatTemplate(model: number, params: unknown): Promise<string | NativeError>
  stats(): NativeStats
  /** Reads the options once, synchronously; what they do not name stays as it is. Returns what was changed. */
  configureCache(options: unknown): NativeSetting[] | NativeError
  clearCache(): void
  /** What went wrong without anybody having asked for it, in sentences for people; each is told once. */
  takeWarnings(): string[]
  /** New work is refused at once; running work may end within `drainMs`, then it is cancelled. Idempotent. */
  shutdown(drainMs: number): Promise<NativeError | undefined>
  /** Stops the engine within a step, and waits for that; for a process that is exiting. Idempotent. */
  stop(): void
  /** Lets go of everything, once it was shut down or did not start: `wake` is not called any more. Idempotent. */
  close(): void
}

export interface NativeAddon {
  /** `wake` is called on the JavaScript thread, at most once per undrained batch; it never keeps the process alive. */
  NativeEngine: new (
    wake: () => void,
  ) => NativeEngine
  /** Version of the addon; must equal the package's. */
  version(): string
  /** Names of the simulated device profiles. */
  profiles(): string[]
  /** Everything that can be set, in the order in which users see it. */
  knobs(): NativeKnob[]
}
