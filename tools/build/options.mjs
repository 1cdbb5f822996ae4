// The engine's own table of options, src/config/options.rs, from the built addon.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { platform } from './repository.mjs'

const addon = () => createRequire(import.meta.url)(join(platform().folder, 'mlx-serving.node'))

/** The options in the order of the table. `NativeOption` in lib/native.ts is their type. */
export const options = () => addon().options()

/** The keys of a runtime file, those of an option together. */
export const fileKeys = () => addon().fileKeys()

/** The declaration that index.d.ts must have for an option: name, type, default, text and range. */
export function declarationOf({ name, isSwitch, names, default: standard, min, max, text }) {
  const type = names ? names.map(quoted).join(' | ') : isSwitch ? 'boolean' : 'number'
  const isNumber = !names && !isSwitch
  return { name, type, standard: shown(standard), text: isNumber ? `${text} From ${min} to ${max}.` : text }
}

const quoted = name => `'${name}'`

/** A value as source code, or an empty text without a value. */
export const shown = value => (value === undefined ? '' : typeof value === 'string' ? quoted(value) : String(value))
