// Errors as clients get them: the status, the code, and the body in the form of the API that was asked. What only concerns the
// server stays in its log.

import type { ErrorCode } from '../../index'
import { MlxServingError } from '../errors'

/** A request that is refused before the engine sees it. */
export class HttpError extends Error {
  readonly status: number
  readonly code: string
  readonly param: string | undefined
  readonly headers: Record<string, string>

  constructor(
    status: number,
    code: string,
    message: string,
    more: { param?: string; headers?: Record<string, string> } = {},
  ) {
    super(message)
    this.status = status
    this.code = code
    this.param = more.param
    this.headers = more.headers ?? {}
  }
}

/** What a client learns of an error. */
export interface Problem {
  readonly status: number
  readonly code: string
  readonly message: string
  readonly param: string | undefined
  readonly headers: Record<string, string>
  /** Whether the error goes to the log of the server. Its message is not sent to the client, because it may name files. */
  readonly isInternal: boolean
}

/** The status and the code of each error of the engine. */
export const PROBLEMS: Record<ErrorCode, readonly [status: number, code: string]> = {
  InvalidParams: [400, 'invalid_value'],
  ContextLengthExceeded: [400, 'context_length_exceeded'],
  GuidanceError: [400, 'invalid_schema'],
  ModelNotFound: [404, 'model_not_found'],
  ModelNotLoaded: [404, 'model_not_found'],
  SlowConsumer: [408, 'slow_consumer'],
  Overloaded: [429, 'rate_limit_exceeded'],
  Cancelled: [499, 'cancelled'],
  ConfigError: [500, 'internal_error'],
  ModelLoadError: [500, 'internal_error'],
  UnsupportedModel: [500, 'internal_error'],
  TokenizerError: [500, 'internal_error'],
  BackendError: [500, 'internal_error'],
  UnsupportedPlatform: [500, 'internal_error'],
  DownloadError: [502, 'download_failed'],
  InsufficientMemory: [503, 'insufficient_memory'],
  CircuitOpen: [503, 'device_unavailable'],
  EngineClosed: [503, 'shutting_down'],
  Timeout: [504, 'timeout'],
}

/** The names of params in the APIs, where they are not the engine's names in snake case. */
const NAMES: Record<string, string> = {
  stopSequences: 'stop',
  structured: 'response_format',
  templateVariables: 'chat_template_kwargs',
}

export function problemOf(error: unknown): Problem {
  if (error instanceof HttpError) {
    const { status, code, message, param, headers } = error
    return { status, code, message, param, headers, isInternal: false }
  }
  if (error instanceof MlxServingError) return problemOfEngine(error)
  const isAbort = error instanceof Error && error.name === 'AbortError'
  const [status, code] = isAbort ? [499, 'cancelled'] : [500, 'internal_error']
  const message = isAbort ? 'the client has left' : UNSAID
  return { status, code, message, param: undefined, headers: {}, isInternal: !isAbort }
}

const UNSAID = 'the server cannot answer this request'

function problemOfEngine(error: MlxServingError): Problem {
  const [status, code] = PROBLEMS[error.code] ?? [500, 'internal_error']
  const headers = retryHeaders(error.retryAfterMs)
  const { param } = error
  // Errors of a load name the folder of the model.
  if (status === 500 || status === 502 || error.code === 'ModelNotFound') {
    return { status, code, message: UNSAID, param: undefined, headers, isInternal: true }
  }
  const name = param && apiName(param)
  const message = param === undefined ? error.message : error.message.replaceAll(`\`${param}\``, `\`${name}\``)
  return { status, code, message, param: name, headers, isInternal: false }
}

/** `maxTokens` is `max_tokens` for clients. */
function apiName(param: string): string {
  const [first, ...rest] = param.split('.')
  const name = NAMES[first] ?? first.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
  return [name, ...rest].join('.')
}

/** When to try again: milliseconds for the SDKs, and whole seconds for every client. */
export function retryHeaders(retryAfterMs: number | undefined): Record<string, string> {
  if (retryAfterMs === undefined) return {}
  return { 'retry-after': String(Math.ceil(retryAfterMs / 1000)), 'retry-after-ms': String(retryAfterMs) }
}

/** How an API writes errors. */
export type ProblemBody = (problem: Problem, id: string) => object

export const openAiProblem: ProblemBody = ({ status, code, message, param }) => ({
  error: {
    message,
    type: OPENAI_TYPES[status] ?? (status < 500 ? 'invalid_request_error' : 'server_error'),
    param: param ?? null,
    code,
  },
})

export const ollamaProblem: ProblemBody = ({ message }) => ({ error: message })

export const anthropicProblem: ProblemBody = ({ status, message }, id) => ({
  type: 'error',
  error: { type: ANTHROPIC_TYPES[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error'), message },
  request_id: id,
})

const OPENAI_TYPES: Record<number, string> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
}

const ANTHROPIC_TYPES: Record<number, string> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
  504: 'timeout_error',
}
