// Node's timers, taken when this package is loaded. Test tools replace the global timers, and some those of node:timers,
// by fake ones, for which an engine would wait for ever.

import timers from 'node:timers'

export const { setImmediate, clearImmediate, setInterval, clearInterval, setTimeout, clearTimeout } = timers

/** The longest timer. Node fires a longer one at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1
