// Scripted answers of a simulated device: calls the functions of the script, and finds the answers that fit a request. Which
// of them the request gets is decided in the addon, where its generation starts.

import { types } from 'node:util'
import type { Message, ScriptedRequest } from '../index'
import { errorOf } from './errors'
import { isAbsent, isArray, type Properties, reading, show } from './options'

const NAME = 'backend.answers'
/** The addon refuses a longer list. */
const MAX_ANSWERS = 2 ** 16

type Match = (request: ScriptedRequest) => boolean
type Answerer = (request: ScriptedRequest) => unknown

/** Finds the scripted answers of requests. */
export class Script {
  readonly #answerer: Answerer | undefined
  /** The conditions of a list of answers. */
  readonly #matches: readonly Match[]

  constructor(answers: Answerer | readonly Match[]) {
    this.#answerer = typeof answers === 'function' ? answers : undefined
    this.#matches = typeof answers === 'function' ? [] : answers
  }

  /** The indexes of the answers that fit, or the answer of the function. An error of a function goes to the caller. */
  find(params: Properties, model: unknown): unknown {
    const request = requestOf(params, model)
    if (this.#answerer === undefined) return indexesOf(this.#matches, match => match(request))
    return atOnce(NAME, this.#answerer(request))
  }
}

/**
 * Takes the script out of the options of `createEngine`. The options are copied, so that each property is read once; the addon
 * reads the copies.
 */
export function readScript(options: unknown): { options: unknown; script?: Script } {
  const outer = copyOf(options)
  if (outer === undefined) return { options }
  const backend = copyOf(outer.backend)
  if (backend === undefined) return { options: outer }
  outer.backend = backend
  const { answers } = backend
  if (typeof answers === 'function') return { options: outer, script: new Script(answers as Answerer) }
  // The addon refuses values of other types.
  if (isAbsent(answers) || !isArray(answers, NAME) || answers.length > MAX_ANSWERS) return { options: outer }
  const copies = reading(NAME, () => Array.from(answers)).map(answer => copyOf(answer) ?? answer)
  backend.answers = copies
  return { options: outer, script: new Script(copies.map((copy, index) => matchOf(copy, index))) }
}

/** The own properties of an object. The addon refuses other values, and objects without properties, by itself. */
function copyOf(value: unknown): Properties | undefined {
  if (typeof value !== 'object' || isAbsent(value) || isArray(value, 'options') || ArrayBuffer.isView(value)) return
  const copy: Properties = reading('options', () => Object.assign(Object.create(null), value))
  return Object.keys(copy).length > 0 ? copy : undefined
}

function matchOf(answer: unknown, index: number): Match {
  const match = (answer as Properties | undefined)?.match
  const name = `${NAME}[${index}].match`
  if (isAbsent(match)) return () => true
  if (typeof match === 'function') return request => atOnce(name, match(request)) as boolean
  if (types.isRegExp(match)) return ({ text }) => text.search(match) >= 0
  if (typeof match === 'string' && match !== '') return ({ text }) => text.includes(match)
  throw wrong(name, `must be a text that is not empty, a regular expression or a function, not ${show(match)}`)
}

/** Returns what a function of the script returned. Refuses a promise, because requests are submitted synchronously. */
function atOnce<T>(name: string, value: T): T {
  if (!types.isPromise(value)) return value
  value.catch(() => {})
  throw wrong(name, 'is a function that returned a promise: it must return its value at once')
}

/** A request as the functions of a script see it. It was not checked yet. */
function requestOf(params: Properties, model: unknown): ScriptedRequest {
  const { prompt, messages: given } = params
  const messages = (Array.isArray(given) ? given : []) as Message[]
  const text = typeof prompt === 'string' ? prompt : textOf(messages.at(-1)?.content)
  return { text, messages, params: { ...params, model } as ScriptedRequest['params'] }
}

function textOf(content: Message['content']): string {
  if (typeof content === 'string') return content
  return Array.isArray(content) ? content.map(part => part?.text ?? '').join('') : ''
}

function indexesOf<T>(items: readonly T[], isWanted: (item: T) => boolean): number[] {
  return items.flatMap((item, index) => (isWanted(item) ? [index] : []))
}

function wrong(param: string, message: string): Error {
  return errorOf('ConfigError', `\`${param}\` ${message}`, { param })
}
