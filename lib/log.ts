// Where the engine writes what it does: the `logger` option, or standard error if `MLX_LOG` asks for it. Messages have no text of
// prompts or answers. Messages of the addon come through lib/hub.ts.

import type { Logger } from '../index'
import { errorOf } from './errors'
import { API, DEFAULTS, includes, type Levels, readLevels } from './loglevels'
import type { NativeLog, NativeLogLevel } from './native'
import { isAbsent, type Properties, show, take } from './options'

const OPTION = 'logger'

const FUNCTIONS: readonly (keyof Logger)[] = ['error', 'warn', 'info', 'debug']

/** Named values of a message. Absent ones are left out. */
type Fields = Record<string, string | number | boolean | undefined>

export class Log {
  #logger: Logger | undefined
  readonly #levels: Levels

  constructor(logger?: Logger, levels: Levels = DEFAULTS) {
    this.#logger = logger
    this.#levels = levels
  }

  /** Whether messages of the addon can come. */
  get isOn(): boolean {
    return this.#logger !== undefined
  }

  /** What the addon must report; `undefined` if that is nothing. */
  wanted(): NativeLogLevel[] | undefined {
    const levels = [...this.#levels].filter(([, level]) => level !== 'off')
    if (!this.isOn || levels.length === 0) return undefined
    return levels.map(([target, level]) => ({ target, level }))
  }

  isEnabled(level: keyof Logger): boolean {
    return this.#logger !== undefined && includes(this.#levels.get(API) ?? 'off', level)
  }

  /** Writes `message name=value …`: one text, which every logger writes in the same way. */
  write(level: keyof Logger, message: string, fields: Fields = {}): void {
    if (!this.isEnabled(level)) return
    const given = Object.entries(fields).filter(([, value]) => value !== undefined)
    this.#give(level, [message, ...given.map(([name, value]) => `${name}=${shown(value)}`)].join(' '))
  }

  /** Writes messages of the addon, which has reported only what is wanted. */
  deliver({ lines, dropped }: NativeLog): void {
    for (const { level, text } of lines) this.#give(level === 'trace' ? 'debug' : level, text)
    if (dropped > 0) this.write('warn', 'messages of the log were dropped: they came too fast', { dropped })
  }

  #give(level: keyof Logger, text: string): void {
    try {
      this.#logger?.[level](text)
    } catch (error) {
      // The engine goes on without a logger that throws.
      this.#logger = undefined
      const reason = error instanceof Error ? error.message : String(error)
      process.emitWarning(`the logger threw an error and is not used any more: ${reason}`, 'MlxServingWarning')
    }
  }
}

/** A value as one word. */
function shown(value: Fields[string]): string {
  if (typeof value === 'number') return `${Math.round(value * 10) / 10}`
  return typeof value === 'string' && /[\s"=]/.test(value) ? JSON.stringify(value) : `${value}`
}

/** Takes the logger out of the options, and reads the levels from `MLX_LOG`. */
export function readLog(options: unknown, environment: NodeJS.ProcessEnv): Log {
  const isGiven = typeof options === 'object' && options !== null && Object.hasOwn(options, OPTION)
  const logger = readLogger(isGiven ? take(options as Properties, OPTION) : undefined)
  const levels = readLevels(environment)
  if (logger !== undefined) return new Log(logger, levels)
  return levels === undefined ? new Log() : new Log(STANDARD_ERROR, levels)
}

function readLogger(value: unknown): Logger | undefined {
  if (isAbsent(value)) return undefined
  const isLogger = FUNCTIONS.every(name => typeof (value as Partial<Logger>)[name] === 'function')
  if (isLogger) return value as Logger
  const message = `\`${OPTION}\` must be an object with the functions ${FUNCTIONS.join(', ')}, not ${show(value)}`
  throw errorOf('ConfigError', message, { param: OPTION })
}

/** Standard output belongs to the program. */
const STANDARD_ERROR: Logger = {
  error: message => console.error(`mlx-serving error: ${message}`),
  warn: message => console.error(`mlx-serving warn: ${message}`),
  info: message => console.error(`mlx-serving info: ${message}`),
  debug: message => console.error(`mlx-serving debug: ${message}`),
}
