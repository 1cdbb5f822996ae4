// What the engine takes from the process: its environment variables and its memory. The addon does not read the process.

import { totalmem } from 'node:os'
import type { NativeAddon } from './native'

/** The addon knows all variables with this prefix. Others that begin with `MLX_` may belong to other programs. */
const OWN = 'MLX_SERVING_'

/** Warnings that this thread has emitted. */
const emitted = new Set<string>()

/** The `MLX_*` variables of this thread, as a worker may have its own. The addon picks those of its table. */
export function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('MLX_')))
}

/** Emits one process warning for each variable with our prefix that the addon does not know. */
export function warnOfUnknown(environment: NodeJS.ProcessEnv, addon: NativeAddon): void {
  const own = Object.keys(environment).filter(name => name.startsWith(OWN))
  for (const warning of addon.unknownVariables(own)) {
    if (emitted.has(warning)) continue
    emitted.add(warning)
    process.emitWarning(warning, { type: 'MlxServingWarning', code: 'UnknownVariable' })
  }
}

/** The memory that this process may use, in bytes. */
export function memoryBytes(): number {
  const allowed = process.constrainedMemory?.() ?? 0
  return allowed > 0 ? Math.min(allowed, totalmem()) : totalmem()
}
