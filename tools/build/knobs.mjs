// The engine's own list of what can be set, asked of the built addon: the table is src/config/knobs.rs.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { platform } from './repository.mjs'

/** The knobs in the order in which users see them; the shape is `NativeKnob` in lib/native.ts. */
export const knobs = () => createRequire(import.meta.url)(join(platform().folder, 'mlx-serving.node')).knobs()

/** A knob as index.d.ts has to declare it: name, type, default, and what it does with the range it takes. */
export function declarationOf({ name, isSwitch, names, default: standard, min, max, text }) {
  const type = names ? names.map(quoted).join(' | ') : isSwitch ? 'boolean' : 'number'
  const isNumber = !names && !isSwitch
  return { name, type, standard: shown(standard), text: isNumber ? `${text} From ${min} to ${max}.` : text }
}

const quoted = name => `'${name}'`

/** A value as it is written in code, if there is one. */
export const shown = value => (value === undefined ? '' : typeof value === 'string' ? quoted(value) : String(value))
