// Node's timers as they are when this package is loaded. Tools for tests put fake ones in the place of the globals, and
// some into node:timers too; an engine that took one of those would wait for it for ever.

import timers from 'node:timers'

export const { setImmediate, setInterval, clearInterval, setTimeout, clearTimeout } = timers

/** Node lets a longer timer end at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1
