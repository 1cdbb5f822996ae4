// Whether this machine can run a model: Linux always, a Mac if it has a Metal device. Virtual Macs may have none.

import { quiet } from '../command.mjs'

/** Why this machine cannot run a model, or nothing if it can. */
export async function missingDevice() {
  if (process.platform !== 'darwin') return undefined
  const displays = await quiet('system_profiler', ['SPDisplaysDataType'])
  return /^\s*Metal/m.test(displays) ? undefined : 'no Metal device'
}
