// The command line of `npm run soak`: which soaks run, and for how long.

import { parseArgs } from 'node:util'
import { among, count } from '../flags.mjs'

const FLAGS = {
  kinds: { type: 'string', default: 'simulated,mlx' },
  hours: { type: 'string', default: '72' },
  'per-second': { type: 'string', default: '1' },
  minutes: { type: 'string', default: '20' },
  seed: { type: 'string', default: '1' },
  leak: { type: 'string', default: '0' },
  quick: { type: 'boolean', default: false },
  plots: { type: 'boolean', default: false },
}
const QUICK = { hours: '12', minutes: '1' }
const SECONDS_PER_HOUR = 3600
/** An engine on MLX lives for so many requests, some seconds. */
const MLX_REQUESTS_PER_HOUR = 600

/** A plan for each kind, and the path of the plot. */
export function readPlans(args) {
  const { values } = parseArgs({ args, options: FLAGS, strict: true })
  const chosen = values.quick ? { ...values, ...QUICK } : values
  const leakBytes = chosen.leak === '0' ? 0 : count('--leak', chosen.leak, 2 ** 20)
  const common = { seed: count('--seed', chosen.seed, 2 ** 31), leakBytes }
  const of = {
    simulated: () => ({
      kind: 'simulated',
      hours: count('--hours', chosen.hours, 10_000),
      requestsPerHour: SECONDS_PER_HOUR * count('--per-second', chosen['per-second'], 1000),
      ...common,
    }),
    mlx: () => ({
      kind: 'mlx',
      minutes: count('--minutes', chosen.minutes, 10_000),
      requestsPerHour: MLX_REQUESTS_PER_HOUR,
      ...common,
    }),
  }
  const plans = among('--kinds', chosen.kinds, Object.keys(of)).map(kind => of[kind]())
  return { plans, plot: values.plots ? 'docs/soak.svg' : 'target/soak/memory.svg' }
}
