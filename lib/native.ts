// The types of the addon. Its functions return an error as a `NativeError`, which lib/errors.ts turns into a class. Not
// part of the public API.

import type {
  ConfigValue,
  EngineHealth,
  EngineStats,
  GenerateResult,
  LoadProgress,
  ModelCapabilities,
  ModelHandle,
  ModelStats,
  PromptComparison,
  Usage,
} from '../index'
import type { Level } from './loglevels'

/** An error of the addon: plain data with a stable code. */
export interface NativeError {
  code: string
  message: string
  param?: string
  limit?: number
  requested?: number
  retryAfterMs?: number
  /** The messages of its causes, outermost first. */
  causes?: string[]
  usage?: NativeUsage
}

export type NativeUsage = Omit<Usage, 'totalTokens'>

export interface NativeModelInfo {
  /** Addresses the model in later calls. */
  key: number
  path: string
  family: string
  contextLength: number
  vocabSize: number
  bytes: number
  computeType: ModelHandle['computeType']
  /** Bytes of the weights in the files. */
  fileBytes: number
  capabilities: Omit<ModelCapabilities, 'logprobs' | 'contextLength' | 'computeType'>
  quantization?: { bits: number; groupSize: number }
  warnings: string[]
}

/** The end of one answer: either `error` or `result`. */
export interface NativeEnd {
  reader: number
  /** The index of the last span of the answer, if it has one in this drain. */
  span?: number
  error?: NativeError
  result?: NativeResult
}

/** The reasoning and tool calls of a span. */
export interface NativeParsedDelta {
  /** The index of the span. */
  span: number
  reasoning: string
  calls: NativeCallDelta[]
}

export interface NativeCallDelta {
  index: number
  /** Only in the first delta of a call, as `name`. */
  id?: string
  name?: string
  arguments: string
  isWithdrawn: boolean
  isComplete: boolean
}

export interface NativeCall {
  id: string
  name: string
  /** JSON text. */
  arguments: string
  /** UTF-16 code units of the answer's text before the call. */
  textBefore: number
}

/** Packed log-probabilities of several pieces of answers: for each token its own, then those of the most probable ones. */
export interface NativeLogprobs {
  /** For each piece, the number of entries of each token; 0 if the request has no log-probabilities. */
  perToken: Uint32Array
  tokens: Uint32Array
  values: Float32Array
  /** The texts of all entries. */
  texts: string
  /** Their bytes in UTF-8. A special token has none. */
  bytes: Uint8Array
  /** Pairs, one for each entry: UTF-16 code units of its text, and bytes. */
  sizes: Uint32Array
}

export interface NativeResult extends NativeUsage {
  text: string
  reasoning?: string
  calls?: NativeCall[]
  warnings?: string[]
  tokens: Uint32Array
  /** Only if the request has log-probabilities. */
  logprobs?: NativeLogprobs
  finishReason: GenerateResult['finishReason']
  queueMs: number
  prefillMs: number
  ttftMs: number
  decodeMs: number
  totalMs: number
  served: GenerateResult['served']
  id: string
  sharedFrom?: string
  seed: number
}

/** Everything new since the last drain, for all readers, in packed arrays. */
export interface Drained {
  /** Triples: reader, number of tokens, number of UTF-16 code units. `tokens` and `text` have them in this order. */
  spans: Uint32Array
  tokens: Uint32Array
  text: string
  /** For the spans with reasoning or tool calls, in their order. */
  deltas: NativeParsedDelta[]
  ended: NativeEnd[]
  /**
   * Quadruples: reader, processed tokens of its prompt, all its tokens, cached ones. Delivered before the spans. Only if a
   * reader wants progress.
   */
  progress?: Uint32Array
  /** The log-probabilities of all spans, in their order. Only if a request has them. */
  logprobs?: NativeLogprobs
}

/** Counters and gauges; index.d.ts documents them. */
export type NativeStats = Omit<EngineStats, 'models' | 'lifecycle'> & { models: NativeModelStats[] }

export type NativeModelStats = Omit<ModelStats, 'model'> & { key: number }

/** The effective value of one option; index.d.ts documents the fields. */
export interface NativeSetting extends ConfigValue {
  name: string
}

/** One line of the table of options. */
export interface NativeOption {
  name: string
  variable?: string
  isSwitch: boolean
  isWhole: boolean
  /** The names that it takes, if it takes names. */
  names?: string[]
  /** The smallest and the largest number that it takes, if it takes numbers. */
  min?: number
  max?: number
  default?: boolean | number | string
  /** Its values under these presets, if they differ from the default. */
  latency?: boolean | number | string
  throughput?: boolean | number | string
  text: string
}

/** The runtime file: its syntax is correct, its keys and values are not checked. */
export interface NativeFile {
  path: string
  /** The environment that this process runs in. */
  environment?: string
  entries: NativeEntry[]
}

/** A value of the runtime file. */
export interface NativeEntry {
  /** With dots between the sections, without the environment. */
  key: string
  /** The environment that it is for; absent for all of them. */
  environment?: string
  /** Counted from 1. */
  line: number
  /** Absent for a key without a value, and for a value that is something else. */
  value?: boolean | number | string
  /** What the value is, if no option takes values of this kind. */
  other?: string
}

/** The most verbose level that a logger wants of a target. */
export interface NativeLogLevel {
  target: string
  level: Level
}

/** Messages for a logger. */
export interface NativeLog {
  /** Oldest first. */
  lines: { level: Exclude<Level, 'off'>; text: string }[]
  /** Messages that found no room since the last call. */
  dropped: number
}

export interface NativeEngine {
  /**
   * Starts the engine thread. Reads the options once, synchronously. `environment` has the `MLX_*` variables. Resolves with
   * the effective settings or an error. `log` is what the logger wants, if there is one. Called once.
   */
  start(
    options: unknown,
    environment: NodeJS.ProcessEnv,
    memoryBytes: number,
    file?: NativeFile,
    log?: NativeLogLevel[],
  ): Promise<NativeSetting[] | NativeError>
  /** Reads the options once, synchronously. `load` is a number that no other load of this engine has. */
  loadModel(options: unknown, load: number): Promise<NativeModelInfo | NativeError>
  /** How far that load is; `null` if it has not begun or has ended. `totalBytes` is 0 until it is known. */
  loadProgress(load: number): Omit<LoadProgress, 'stage'> | null
  /** Ends the load of that number: its memory is given back soon, and its promise resolves then. */
  abortLoad(load: number): void
  /**
   * Running requests may end within `drainMs`. A further call can shorten that time. `keepsAnswers`: the cached answers stay, as
   * the model may be loaded again.
   */
  unloadModel(model: number, drainMs: number, keepsAnswers: boolean): Promise<NativeError | undefined>
  /**
   * Reads both objects once, synchronously, and returns the id of a reader for each requested answer. Other threads prepare
   * the prompt. `scripted` is what the script of a simulated device has for the request: the indexes of the answers that fit
   * it, or the answer that a function gave.
   */
  submit(model: number, params: unknown, options: unknown, scripted: unknown): number[] | NativeError
  /** The same for the model with an id, which is not loaded. The request waits until one of the two functions below is called. */
  hold(id: string, params: unknown, options: unknown, scripted: unknown): number[] | NativeError
  /** As {@link submit}, for a request that pins its prompt under a number that no other one of this engine has. */
  pin(model: number, params: unknown, options: unknown, pin: number): number[] | NativeError
  /** As {@link hold}, for such a request. */
  holdPin(id: string, params: unknown, options: unknown, pin: number): number[] | NativeError
  /** Releases a pinned prompt, or keeps one from being pinned. Unknown numbers are ignored. */
  unpin(pin: number): void
  /** Bytes that the KV of a pinned prompt with so many tokens takes. */
  pinnedBytes(model: number, tokens: number): number
  /** Submits a held request, named by its first reader, to its model. No effect if it has ended. */
  submitHeld(first: number, model: number): void
  /** Ends a held request with an error of this code. No effect if it has ended or was submitted. */
  failHeld(first: number, code: string, message: string): void
  /** Includes this reader's text in drains, from the beginning. Before, a drain has only its end. */
  stream(reader: number): void
  /** The consumer took this many tokens. A row without credit is parked until it gets more. */
  credit(reader: number, tokens: number): void
  /** What the request has used so far; absent before its generation has started. */
  usage(reader: number): NativeUsage | null
  /** Ends the answer with the tokens so far and the finish reason `cancelled`. */
  cancel(reader: number): void
  /** Removes the reader: nothing more is delivered, and the work ends within a step. Unknown ids are ignored. */
  release(reader: number): void
  /** Synchronous. Called once for each wake. */
  drain(): Drained
  tokenize(model: number, text: string): Promise<Uint32Array | NativeError>
  detokenize(model: number, tokens: Uint32Array): Promise<string | NativeError>
  /**
   * Reads the options, then both properties of `sides` one after the other, synchronously. Errors of a prompt name its property.
   */
  comparePrompts(
    model: number,
    sides: { a: unknown; b: unknown },
    options: unknown,
  ): Promise<PromptComparison | NativeError>
  /** Reads the params once, synchronously. */
  applyChatTemplate(model: number, params: unknown): Promise<string | NativeError>
  stats(): NativeStats
  /** Metrics as OpenMetrics text. */
  metrics(): string
  health(): EngineHealth
  /** Bytes of KV that all models may use together now; `null` if they are not limited. */
  kvLimit(): number | null
  /** Reads the options once, synchronously. Other options keep their values. Returns the changed options. */
  configureCache(options: unknown): NativeSetting[] | NativeError
  clearCache(): void
  /** Messages since the last call; `null` without a logger. A wake announces them. */
  takeLog(): NativeLog | null
  /** Problems that no call reports, as sentences for users. Each is returned once. */
  takeWarnings(): string[]
  /** Refuses new requests at once. Running ones may end within `drainMs`, then they are cancelled. Idempotent. */
  shutdown(drainMs: number): Promise<NativeError | undefined>
  /** Stops the engine within a step, and waits for it. For a process that is exiting. Idempotent. */
  stop(): void
  /** Releases everything after a shutdown or a failed start. `wake` is not called any more. Idempotent. */
  close(): void
}

export interface NativeAddon {
  /** `wake` runs on the JavaScript thread, at most once between two drains. It does not keep the process alive. */
  NativeEngine: new (
    wake: () => void,
  ) => NativeEngine
  /** Version of the addon. It must equal the version of the package. */
  version(): string
  /** Names of the simulated device profiles. */
  profiles(): string[]
  /** The table of options, in its order. */
  options(): NativeOption[]
  /** All keys of a runtime file. Those of an option are together, the best one first. */
  fileKeys(): { key: string; option: string; isDeprecated: boolean }[]
  /** A sentence about each of these environment variables that the addon does not know. */
  unknownVariables(names: string[]): string[]
}
