// Shortens the delays of frameworks before retries.

import { onTestFinished, vi } from 'vitest'

/** Makes each timer fire after 1 ms until the test ends. Returns the requested delays in ms; later timers add theirs. */
export function retrying(): number[] {
  const delays: number[] = []
  const { setTimeout: set } = globalThis
  const spy = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((work: () => void, ms = 0) => {
    delays.push(ms)
    return set(work, 1)
  }) as typeof setTimeout)
  onTestFinished(() => spy.mockRestore())
  return delays
}
