// Which messages a logger gets: reads `MLX_LOG`. lib/log.ts writes the messages.

import { errorOf } from './errors'
import { show } from './options'

const VARIABLE = 'MLX_LOG'

/** The levels, each of which includes those before it. */
const LEVELS = ['off', 'error', 'warn', 'info', 'debug', 'trace'] as const

export type Level = (typeof LEVELS)[number]

/** The target that includes all others. */
const ROOT = 'mlx_serving'
/** The target of messages of lib/. */
export const API = `${ROOT}::api`
/** What `MLX_LOG` can name. The targets besides `API` are those of the events in src/. */
const TARGETS = [API, ...['engine', 'scheduler', 'text'].map(part => `${ROOT}::${part}`)]
/** The level of what `MLX_LOG` does not name. */
const DEFAULT: Level = 'info'

/** The level of each target. */
export type Levels = ReadonlyMap<string, Level>

/** The levels of a logger if `MLX_LOG` is absent. */
export const DEFAULTS: Levels = levelsOf(new Map())

/** Whether a target with the level `most` writes messages of the level `level`. */
export function includes(most: Level, level: Level): boolean {
  return LEVELS.indexOf(level) <= LEVELS.indexOf(most)
}

/** The levels that `MLX_LOG` asks for, such as `info,mlx_serving::scheduler=debug`; `undefined` if it is absent. */
export function readLevels(environment: NodeJS.ProcessEnv): Levels | undefined {
  const text = environment[VARIABLE]
  if (text === undefined) return undefined
  const given = new Map<string, Level>()
  for (const part of text.split(',')) {
    const [target, level] = part.includes('=') ? part.split(/=(.*)/s) : [ROOT, part]
    given.set(targetOf(target.trim()), levelOf(level.trim().toLowerCase()))
  }
  return levelsOf(given)
}

function levelsOf(given: ReadonlyMap<string, Level>): Levels {
  return new Map(TARGETS.map(target => [target, given.get(target) ?? given.get(ROOT) ?? DEFAULT]))
}

function targetOf(text: string): string {
  if (text === ROOT || TARGETS.includes(text)) return text
  throw wrong(`has the unknown target ${show(text)}; targets are ${[ROOT, ...TARGETS].join(', ')}`)
}

function levelOf(text: string): Level {
  if (LEVELS.includes(text as Level)) return text as Level
  throw wrong(`has the unknown level ${show(text)}; levels are ${LEVELS.join(', ')}`)
}

function wrong(message: string): Error {
  return errorOf('ConfigError', `\`${VARIABLE}\` ${message}`, { param: VARIABLE })
}
