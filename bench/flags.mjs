// Values of the flags of a benchmark. A value that is not allowed ends the benchmark with a message that names the flag.

import { Failure } from '../tools/build/failure.mjs'

/** Names separated by commas, each one of `known`. */
export function among(flag, text, known) {
  const names = text.split(',')
  const unknown = names.find(name => !known.includes(name))
  if (unknown !== undefined) throw new Failure(`${flag}: ${unknown} is not one of ${known.join(', ')}.`)
  return names
}

/** A whole number from 1 to `most`. */
export function count(flag, text, most) {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 1 && number <= most) return number
  throw new Failure(`${flag}: ${text} is not a count from 1 to ${most}.`)
}
