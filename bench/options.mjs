// The command line of `npm run bench:overhead`: sides, models, numbers of rows, number of pairs. The defaults are the full
// comparison.

import { parseArgs } from 'node:util'
import { among, count } from './flags.mjs'

export const SIDES = {
  a: 'bare Rust loop',
  b: 'mlx-serving from JavaScript',
  c: 'mlx-lm in process',
  d: 'mlx_lm.server',
}
export const MODELS = ['demo', '4x256', '26m']

const FLAGS = {
  models: { type: 'string', default: MODELS.join(',') },
  rows: { type: 'string', default: '1,2,4,8,16' },
  pairs: { type: 'string', default: '5' },
  sides: { type: 'string', default: Object.keys(SIDES).join(',') },
  quick: { type: 'boolean', default: false },
}
const MOST = 64
const QUICK = { models: '4x256', rows: '1,4', pairs: '3' }

/** The checked flags. */
export function readOptions(args) {
  const { values } = parseArgs({ args, options: FLAGS, strict: true })
  const chosen = values.quick ? { ...values, ...QUICK } : values
  return {
    models: among('--models', chosen.models, MODELS),
    sides: among('--sides', chosen.sides, Object.keys(SIDES)),
    rows: chosen.rows.split(',').map(text => count('--rows', text, MOST)),
    pairs: count('--pairs', chosen.pairs, MOST),
  }
}
