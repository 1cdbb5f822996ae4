// Stops the engines that still run when the process exits. Node runs no addon cleanup on `process.exit()`, and tearing
// the process down while an engine thread computes can hang or crash it. One listener serves all engines.

import type { NativeEngine } from './native'

/** Weak: an engine that nobody refers to may be collected, which stops it. */
const running = new Set<WeakRef<NativeEngine>>()

/** From now on `engine` is stopped at exit. Returns what takes that back. */
export function stopAtExit(engine: NativeEngine): () => void {
  for (const entry of running) if (entry.deref() === undefined) running.delete(entry)
  if (running.size === 0) process.on('exit', stopAll)
  const entry = new WeakRef(engine)
  running.add(entry)
  return () => {
    running.delete(entry)
    if (running.size === 0) process.off('exit', stopAll)
  }
}

function stopAll(): void {
  for (const entry of running) entry.deref()?.stop()
}
