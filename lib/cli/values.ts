// Reads the values of options. A wrong one is an error that names what is allowed.

import { InvalidArgumentError } from 'commander'

/** A whole number from `least` to `most`. */
export function whole(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return text => {
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (number >= least && number <= most) return number
    const limit = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`
    throw new InvalidArgumentError(`It must be a whole number ${limit}.`)
  }
}

/** A number from `least` to `most`. */
export function real(least: number, most: number): (text: string) => number {
  return text => {
    const number = text.trim() === '' ? Number.NaN : Number(text)
    if (number >= least && number <= most) return number
    throw new InvalidArgumentError(`It must be a number from ${least} to ${most}.`)
  }
}

/** Seconds as whole milliseconds. */
export function millisecondsOf(seconds: number): number {
  return Math.round(seconds * 1000)
}

/** A list of whole numbers, separated by commas. */
export function wholes(least: number, most: number): (text: string) => number[] {
  const read = whole(least, most)
  return text => text.split(',').map(part => read(part.trim()))
}

/** A text that may be given several times. */
export function several(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text]
}
