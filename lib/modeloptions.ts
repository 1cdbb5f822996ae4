// The options of `loadModel`, and the name of a model that is given none.

import path from 'node:path'
import { readListener, readRevision, readToken } from './download/downloads'
import { invalid } from './errors'
import { demoModel } from './load'
import { isAbsent, isArray, type Properties, reading, readKnown, readMs, readString, show } from './options'
import type { Waiting } from './sharedload'
import { readSignal } from './signals'

/** The most UTF-16 code units of an id. */
const MAX_ID = 256
const KNOWN = ['path', 'revision', 'token', 'id', 'chatTemplate', 'toolPrompt', 'pin', 'warmup']
const KNOWN_TO_LOAD = [...KNOWN, 'signal', 'onProgress']

/** How a model differs from what its folder says. */
export interface Variant {
  readonly chatTemplate: string | undefined
  readonly toolPrompt: 'hermes' | undefined
}

/** A model that a caller names. */
export interface ModelRequest extends Variant {
  readonly path: string
  /** Of a model of a hub. */
  readonly revision: string | undefined
  readonly token: string | undefined
  readonly id: string | undefined
  readonly pin: boolean | undefined
  readonly warmup: boolean | undefined
}

/** The options of a load. */
export interface LoadRequest extends ModelRequest, Waiting {}

/** The options of `unloadModel`. */
export interface UnloadRequest {
  readonly drainMs: number | undefined
  readonly forget: boolean | undefined
}

/** Reads the argument of `loadModel`. `isHandle` recognizes a model. */
export function loadRequestOf(model: unknown, isHandle: (model: object) => string | undefined): LoadRequest {
  const options = typeof model === 'string' ? { path: model } : propertiesOf(model, isHandle)
  return {
    ...modelRequestOf(options),
    signal: readSignal(options.signal),
    onProgress: readListener(options.onProgress),
  }
}

/** Reads the argument of `registerModel`. */
export function registrationOf(options: unknown): ModelRequest {
  return modelRequestOf(readKnown(options, 'options', KNOWN))
}

/** Reads the options of `unloadModel`. */
export function unloadRequestOf(options: unknown): UnloadRequest {
  const { drainMs, forget } = readKnown(options, 'options', ['drainMs', 'forget'])
  return {
    drainMs: isAbsent(drainMs) ? undefined : readMs(drainMs, 'drainMs', 0),
    forget: readSwitch(forget, 'forget'),
  }
}

function modelRequestOf(options: Properties): ModelRequest {
  return {
    path: isAbsent(options.path) ? demoModel() : readString(options.path, 'path'),
    revision: readRevision(options.revision),
    token: readToken(options.token),
    id: isAbsent(options.id) ? undefined : readId(options.id),
    chatTemplate: isAbsent(options.chatTemplate) ? undefined : readTemplate(options.chatTemplate),
    toolPrompt: isAbsent(options.toolPrompt) ? undefined : readToolPrompt(options.toolPrompt),
    pin: readSwitch(options.pin, 'pin'),
    warmup: readSwitch(options.warmup, 'warmup'),
  }
}

function readSwitch(value: unknown, name: string): boolean | undefined {
  if (isAbsent(value)) return undefined
  if (typeof value !== 'boolean') throw invalid(name, `must be true or false, not ${show(value)}`)
  return value
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
  return readKnown(options, 'options', KNOWN_TO_LOAD)
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
