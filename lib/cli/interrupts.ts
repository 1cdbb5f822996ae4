// Signals that end a command. The first one aborts what is under way, so that locks and memory are given back; a second one
// ends the process.

import { Interrupted } from './exits'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Runs `work` with a signal that aborts when the process is to end. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const onSignal = (name: NodeJS.Signals) => {
    const reason = new Interrupted(name as (typeof SIGNALS)[number])
    if (controller.signal.aborted) process.exit(reason.exit)
    controller.abort(reason)
  }
  for (const name of SIGNALS) process.on(name, onSignal)
  try {
    return await work(controller.signal)
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal)
  }
}
