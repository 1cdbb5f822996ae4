// The error classes, and the one place where a native error becomes one of them. The class of each code is part of the
// public API, as declared in index.d.ts.

import type { ErrorCode, ErrorDetails, Usage } from '../index'
import type { NativeError } from './native'
import { usageOf } from './output'

export class MlxServingError extends Error {
  readonly code: ErrorCode
  declare readonly param?: string
  declare readonly limit?: number
  declare readonly requested?: number
  declare readonly retryAfterMs?: number
  declare readonly usage?: Usage

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    const { cause, ...fields } = details
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    Object.assign(this, present(fields))
  }
}

export class ConfigError extends MlxServingError {}
export class InvalidParamsError extends MlxServingError {}
export class ModelError extends MlxServingError {}
export class GuidanceError extends MlxServingError {}
export class OverloadedError extends MlxServingError {}
export class TimeoutError extends MlxServingError {}
export class CancelledError extends MlxServingError {}
export class SlowConsumerError extends MlxServingError {}
export class DownloadError extends MlxServingError {}
export class BackendError extends MlxServingError {}
export class EngineClosedError extends MlxServingError {}
export class UnsupportedPlatformError extends MlxServingError {}

// Names are spelled out because a bundler may rename classes. They are on the prototype, as for built-in errors.
const NAMES = {
  MlxServingError,
  ConfigError,
  InvalidParamsError,
  ModelError,
  GuidanceError,
  OverloadedError,
  TimeoutError,
  CancelledError,
  SlowConsumerError,
  DownloadError,
  BackendError,
  EngineClosedError,
  UnsupportedPlatformError,
}
for (const [name, type] of Object.entries(NAMES)) {
  Object.defineProperty(type.prototype, 'name', { value: name, configurable: true, writable: true })
}

const CLASSES: Record<ErrorCode, typeof MlxServingError> = {
  ConfigError,
  InvalidParams: InvalidParamsError,
  ContextLengthExceeded: InvalidParamsError,
  ModelNotFound: ModelError,
  ModelLoadError: ModelError,
  ModelNotLoaded: ModelError,
  UnsupportedModel: ModelError,
  TokenizerError: ModelError,
  GuidanceError,
  Overloaded: OverloadedError,
  Timeout: TimeoutError,
  Cancelled: CancelledError,
  SlowConsumer: SlowConsumerError,
  DownloadError,
  InsufficientMemory: BackendError,
  BackendError,
  CircuitOpen: BackendError,
  EngineClosed: EngineClosedError,
  UnsupportedPlatform: UnsupportedPlatformError,
}

/** An error with this code, of the class that the code belongs to. */
export function errorOf(code: ErrorCode, message: string, details?: ErrorDetails): MlxServingError {
  return new (CLASSES[code] ?? MlxServingError)(code, message, details)
}

/** The error about a wrong param; `message` continues "`param` …". */
export function invalid(param: string, message: string, cause?: unknown): MlxServingError {
  return errorOf('InvalidParams', `\`${param}\` ${message}`, { param, cause })
}

/** The error class for a native error. */
export function fromNative(error: NativeError): MlxServingError {
  const { code, message, causes = [], usage, ...fields } = error
  const cause = causes.reduceRight<Error | undefined>(
    (inner, text) => new Error(text, inner && { cause: inner }),
    undefined,
  )
  return errorOf(code as ErrorCode, message, { ...fields, usage: usage && usageOf(usage), cause })
}

/** Whether a return value of the addon is an error: only errors have a code. */
export function isNativeError(answer: unknown): answer is NativeError {
  return typeof answer === 'object' && answer !== null && 'code' in answer
}

/** Returns a value of the addon, or throws its error. */
export function unwrap<T>(answer: T | NativeError): T {
  if (isNativeError(answer)) throw fromNative(answer)
  return answer
}

/** The fields with a value. Absent ones are `undefined`, or `null` in native errors. */
function present(fields: ErrorDetails): ErrorDetails {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null))
}
