// The engine's own list of what can be set, asked of the built addon: the table is src/config/knobs.rs.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { platform } from './repository.mjs'

/** The knobs in the order in which users see them; the shape is `NativeKnob` in lib/native.ts. */
export const knobs = () => createRequire(import.meta.url)(join(platform().folder, 'mlx-serving.node')).knobs()

/** A knob as index.d.ts has to declare it: name, type, default, and what it does with the range it takes. */
export function declarationOf({ name, isSwitch, default: standard, min, max, text }) {
  const type = isSwitch ? 'boolean' : 'number'
  return { name, type, standard: shown(standard), text: isSwitch ? text : `${text} From ${min} to ${max}.` }
}

/** A value, if there is one. */
export const shown = value => (value === undefined ? '' : String(value))
