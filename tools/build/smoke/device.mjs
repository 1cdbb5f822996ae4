// Whether this machine can run a model: on Linux always, on a Mac where there is a Metal device. Virtual Macs may have none.

import { quiet } from '../command.mjs'

/** Why programs that run a model cannot run here, if they cannot. */
export async function missingDevice() {
  if (process.platform !== 'darwin') return undefined
  const displays = await quiet('system_profiler', ['SPDisplaysDataType'])
  return /^\s*Metal/m.test(displays) ? undefined : 'no Metal device'
}
