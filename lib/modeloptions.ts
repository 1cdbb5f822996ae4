// The options of `loadModel`, and the name of a model that is given none.

import path from 'node:path'
import { readListener, readRevision, readToken } from './download/downloads'
import { invalid } from './errors'
import { demoModel } from './load'
import { isAbsent, isArray, type Properties, reading, readKnown, readString, show } from './options'
import type { Waiting } from './sharedload'
import { readSignal } from './signals'

/** The most UTF-16 code units of an id. */
const MAX_ID = 256
const KNOWN = ['path', 'revision', 'token', 'id', 'chatTemplate', 'toolPrompt', 'signal', 'onProgress']

/** How a model differs from what its folder says. */
export interface Variant {
  readonly chatTemplate: string | undefined
  readonly toolPrompt: 'hermes' | undefined
}

/** The options of a load. */
export interface LoadRequest extends Variant, Waiting {
  readonly path: string
  /** Of a model of a hub. */
  readonly revision: string | undefined
  readonly token: string | undefined
  readonly id: string | undefined
}

/** Reads the argument of `loadModel`. `isHandle` recognizes a model. */
export function loadRequestOf(model: unknown, isHandle: (model: object) => string | undefined): LoadRequest {
  const options = typeof model === 'string' ? { path: model } : propertiesOf(model, isHandle)
  return {
    path: isAbsent(options.path) ? demoModel() : readString(options.path, 'path'),
    revision: readRevision(options.revision),
    token: readToken(options.token),
    id: isAbsent(options.id) ? undefined : readId(options.id),
    chatTemplate: isAbsent(options.chatTemplate) ? undefined : readTemplate(options.chatTemplate),
    toolPrompt: isAbsent(options.toolPrompt) ? undefined : readToolPrompt(options.toolPrompt),
    signal: readSignal(options.signal),
    onProgress: readListener(options.onProgress),
  }
}

/** Objects that are not plain and have no own `path` are refused, such as a URL. */
function propertiesOf(options: unknown, isHandle: (model: object) => string | undefined): Properties {
  if (isAbsent(options)) return {}
  const wrong = (what = show(options)) =>
    invalid('model', `must be the path of a model folder, or { path }, not ${what}`)
  if (typeof options !== 'object' || isArray(options, 'model')) throw wrong()
  const id = isHandle(options)
  if (id !== undefined) throw wrong(`a handle: the model ${show(id)} was loaded before`)
  const prototype = reading('model', () => Object.getPrototypeOf(options))
  const isPlain = prototype === null || reading('model', () => Object.getPrototypeOf(prototype)) === null
  if (!isPlain && !reading('model', () => Object.hasOwn(options, 'path'))) throw wrong()
  return readKnown(options, 'options', KNOWN)
}

function readId(value: unknown): string {
  const id = readString(value, 'id')
  if (id.length === 0 || id.length > MAX_ID) {
    throw invalid('id', `must have 1 to ${MAX_ID} characters, not ${id.length}`)
  }
  return id
}

function readTemplate(value: unknown): string {
  const template = readString(value, 'chatTemplate')
  if (template.trim() === '') throw invalid('chatTemplate', 'must be a Jinja template, and it is empty')
  return template
}

function readToolPrompt(value: unknown): 'hermes' {
  if (value !== 'hermes') throw invalid('toolPrompt', `must be 'hermes', not ${show(value)}`)
  return value
}

/**
 * The name of a folder. A snapshot in a cache of the Hugging Face hub, `models--owner--name/snapshots/<hash>`, is named by its
 * repository, `owner/name`.
 */
export function nameOf(folder: string): string {
  const snapshot = /(?:^|\/)models--([^/]+)\/snapshots\/[^/]+\/?$/.exec(folder)
  if (snapshot !== null) return snapshot[1].replaceAll('--', '/')
  return path.basename(folder) || folder
}
