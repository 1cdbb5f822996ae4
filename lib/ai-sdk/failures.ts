// Errors in the form that the AI SDK recognizes. The AI SDK reads symbols and fields instead of classes, so the packages of the
// AI SDK are not needed here.

import type { MlxServingError } from '../errors'
import { retryStatusOf } from '../retryable'

/** An error of the AI SDK, with its name as there. */
function recognizable<T extends object>(name: string, error: Error, fields: T): Error & T {
  const markers = { [Symbol.for('vercel.ai.error')]: true, [Symbol.for(`vercel.ai.error.${name}`)]: true }
  return Object.assign(error, { name, ...fields }, markers)
}

/**
 * The error to throw to the AI SDK. One that is worth another attempt becomes an `APICallError`, whose `cause` is the error of
 * the engine: the AI SDK retries `maxRetries` times, and waits as long as the engine says.
 */
export function callErrorOf(error: unknown, modelId: string, body: unknown): unknown {
  const statusCode = retryStatusOf(error)
  if (statusCode === undefined) return error
  const { code, message, retryAfterMs } = error as MlxServingError
  return recognizable('AI_APICallError', new Error(message, { cause: error }), {
    url: `mlx:${modelId}`,
    requestBodyValues: body,
    statusCode,
    isRetryable: true,
    responseHeaders: retryAfterMs === undefined ? {} : { 'retry-after-ms': String(retryAfterMs) },
    data: { code },
  })
}

/** The `NoSuchModelError` for a kind of model that the engine does not run. */
export function noSuchModel(modelId: string, modelType: 'embeddingModel' | 'imageModel'): Error {
  const error = new Error(`No such ${modelType}: ${modelId}. mlx-serving runs language models only.`)
  return recognizable('AI_NoSuchModelError', error, { modelId, modelType })
}

/** The `UnsupportedFunctionalityError` for a prompt that the engine cannot take. */
export function unsupported(functionality: string, message: string): Error {
  return recognizable('AI_UnsupportedFunctionalityError', new Error(message), { functionality })
}
