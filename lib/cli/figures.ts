// Figures and tables for people.

import type { PrefixCacheStats } from '../../index'
import { paint, printable } from './terminal'

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB']

/** Bytes in units of 1000, with three digits. */
export function bytes(count: number): string {
  const power = count < 1000 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), UNITS.length - 1)
  const value = count / 1000 ** power
  // 999,600 bytes are 1.00 MB, not 1000 kB.
  if (power > 0 && power < UNITS.length - 1 && Math.round(value) >= 1000) return bytes(1000 ** (power + 1))
  return `${power === 0 ? value : digits(value)} ${UNITS[power]}`
}

/** A number of parameters: `135 M`. */
export function parameters(count: number): string {
  for (const [size, unit] of [
    [1e12, 'T'],
    [1e9, 'B'],
    [1e6, 'M'],
    [1e3, 'k'],
  ] as const) {
    if (count >= size) return `${digits(count / size)} ${unit}`
  }
  return `${count}`
}

/** Milliseconds, as seconds from one second on. */
export function duration(ms: number): string {
  return ms < 1000 ? `${digits(ms)} ms` : `${digits(ms / 1000)} s`
}

/** A share from 0 to 1. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}

/** The share of prompts that reused KV of an earlier sequence, and the number of prompts. */
export function prefixHits({ hits, misses }: PrefixCacheStats): string {
  const asked = Object.values(misses).reduce((sum, missed) => sum + missed, hits)
  return `${percent(hits / (asked || 1))} of ${count(asked)} prompts`
}

/** The prompt tokens that were reused, of all prompt tokens. */
export function prefixTokens({ tokensReused, tokensComputed }: PrefixCacheStats): string {
  return `${count(tokensReused)} of ${count(tokensReused + tokensComputed)}`
}

/** A count with separators. */
export function count(number: number): string {
  return number.toLocaleString('en-US')
}

/** A number with about three digits. */
export function digits(number: number): string {
  return number >= 100 ? `${Math.round(number)}` : number >= 10 ? number.toFixed(1) : number.toFixed(2)
}

/** A column of a table. */
export interface Column {
  readonly title: string
  readonly align?: 'right'
}

/** Lines of a table with aligned columns. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const titles = columns.map(column => column.title)
  const clean = rows.map(row => row.map(printable))
  const widths = columns.map((_, at) => Math.max(...[titles, ...clean].map(row => (row[at] ?? '').length)))
  const line = (row: readonly string[]) =>
    columns
      .map(({ align }, at) => (row[at] ?? '')[align === 'right' ? 'padStart' : 'padEnd'](widths[at] ?? 0))
      .join('  ')
      .trimEnd()
  return [paint('bold', line(titles)), ...clean.map(line)].join('\n')
}

/** Lines of names and values. */
export function pairs(entries: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...entries.map(([name]) => name.length))
  return entries.map(([name, value]) => `${paint('dim', name.padEnd(width))}  ${printable(value)}`).join('\n')
}
