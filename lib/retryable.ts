// Errors after which another attempt may succeed. Frameworks make the attempts, and recognize such errors by an HTTP status.

import type { ErrorCode } from '../index'
import { MlxServingError } from './errors'

const STATUS: Partial<Record<ErrorCode, number>> = {
  // The engine has no room now, and says when it will have some.
  Overloaded: 429,
  // A step failed. The device was reset, and the engine continues.
  BackendError: 500,
}

/** The HTTP status of an error after which another attempt may succeed; `undefined` for all other errors. */
export function retryStatusOf(error: unknown): number | undefined {
  return error instanceof MlxServingError ? STATUS[error.code] : undefined
}
