// Stops running engines when the process exits, and writes their last log messages. Node runs no cleanup of addons on
// `process.exit()`, and a process that is torn down while an engine thread computes can hang or crash. All engines share one
// listener.

import type { Hub } from './hub'

/** Weak references: an engine without other references may be garbage-collected, which stops it. */
const running = new Set<WeakRef<Hub>>()

/** Stops the engine of `hub` at exit. Returns a function that cancels this. */
export function stopAtExit(hub: Hub): () => void {
  for (const entry of running) if (entry.deref() === undefined) running.delete(entry)
  if (running.size === 0) process.on('exit', stopAll)
  const entry = new WeakRef(hub)
  running.add(entry)
  return () => {
    running.delete(entry)
    if (running.size === 0) process.off('exit', stopAll)
  }
}

function stopAll(): void {
  for (const entry of running) entry.deref()?.stop()
}
