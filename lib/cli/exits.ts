// How a command ends: exit codes, and the one line on stderr that says why it failed.

import type { ErrorCode } from '../../index'
import { MlxServingError } from '../errors'
import { isOfServer, withFlags } from './flags'
import { paint, printable } from './terminal'

export const FAILED = 1
export const WRONG_USAGE = 2
const NO_MODEL = 3
const NO_DOWNLOAD = 4
export const NO_FIT = 5
const NO_PLATFORM = 6
/** The same exit code as that of the command `timeout`. */
const TIMED_OUT = 124

/** The exit code of each error code; `FAILED` for the others. */
const EXITS: Partial<Record<ErrorCode, number>> = {
  ConfigError: WRONG_USAGE,
  InvalidParams: WRONG_USAGE,
  ContextLengthExceeded: WRONG_USAGE,
  GuidanceError: WRONG_USAGE,
  ModelNotFound: NO_MODEL,
  ModelLoadError: NO_MODEL,
  UnsupportedModel: NO_MODEL,
  TokenizerError: NO_MODEL,
  DownloadError: NO_DOWNLOAD,
  InsufficientMemory: NO_FIT,
  UnsupportedPlatform: NO_PLATFORM,
  Timeout: TIMED_OUT,
}

/** What to do about an error, where its message does not say so. */
const HINTS: Partial<Record<string, string>> = {
  ConfigError: 'docs/configuration.md lists the options and variables',
  ContextLengthExceeded: 'shorten the prompt, or choose a model with a longer context',
  ModelNotFound: '`mlx-serving list` shows the models of this machine, `mlx-serving pull` downloads one',
  ModelLoadError: '`mlx-serving show` reads the files of a model; pull it again if they are damaged',
  UnsupportedModel: 'docs/models.md lists the models that load',
  DownloadError: 'the same command goes on where it was; `mlx-serving doctor` checks the connection',
  InsufficientMemory: '`mlx-serving fit` says what fits; choose a smaller model or fewer bits',
  UnsupportedPlatform: '`mlx-serving doctor` checks the installation',
  CircuitOpen: 'the device failed too often; try again later',
  Timeout: 'allow more time with --timeout',
  EADDRINUSE: 'choose another port with --port; 0 takes a free one',
}

const SERVER_HINT = 'docs/server.md describes the options of the server'

/** A failure of the command itself, with a code of its own. */
export class CommandError extends Error {
  readonly code: string
  readonly exit: number
  readonly hint: string | undefined

  constructor(code: string, message: string, { exit = FAILED, hint }: { exit?: number; hint?: string } = {}) {
    super(message)
    this.code = code
    this.exit = exit
    this.hint = hint
  }
}

/** The command was called in a wrong way. */
export function wrongUsage(message: string, hint?: string): CommandError {
  return new CommandError('WrongUsage', message, { exit: WRONG_USAGE, ...(hint && { hint }) })
}

/** A failure without a line on stderr of its own: its line is there, or a person knows why the command ends. */
export class SilentFailure extends Error {
  readonly exit: number

  constructor(message: string, exit: number) {
    super(message)
    this.exit = exit
  }
}

/** The process got a signal, such as that of Ctrl-C. */
export class Interrupted extends SilentFailure {
  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    // As shells report a process that a signal has ended.
    super(`ended by ${signal}`, 128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[signal])
  }
}

let hasStacks = false

/** Reports failures with their stack. */
export function showStacks(): void {
  hasStacks = true
}

/** Writes a failure to stderr, also with `--quiet`. */
export function reportFailure(error: unknown): void {
  const line = hasStacks && error instanceof Error ? String(error.stack) : lineOf(error)
  process.stderr.write(`${line}\n`)
}

/** The exit code of a failure. */
export function exitOf(error: unknown): number {
  if (error instanceof CommandError || error instanceof SilentFailure) return error.exit
  return (error instanceof MlxServingError && EXITS[error.code]) || FAILED
}

/** A failure as one line: its code, its message, and what to do. */
function lineOf(error: unknown): string {
  const { code, message, hint } = partsOf(error)
  const end = hint === undefined ? '' : paint('dim', ` (${hint})`, process.stderr)
  return `${paint('red', code, process.stderr)}: ${oneLine(message)}${end}`
}

/** The code, message and hint of a failure. */
export function partsOf(error: unknown): { code: string; message: string; hint?: string | undefined } {
  if (error instanceof CommandError) return error
  if (error instanceof MlxServingError) {
    const hint = error.code === 'ConfigError' && isOfServer(error) ? SERVER_HINT : HINTS[error.code]
    return { code: error.code, message: withFlags(error), hint }
  }
  const { code = 'Failed', message }: NodeJS.ErrnoException = error instanceof Error ? error : new Error(`${error}`)
  return { code, message, hint: HINTS[code] }
}

function oneLine(text: string): string {
  return printable(text).replace(/\s*\n\s*/g, ' ')
}
