// The rooms of src/ and the rooms that each may name, as docs/architecture.md lists them, and the rooms that the code names.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { at } from './repository.mjs'

const PAGE = 'docs/architecture.md'
const HEADING = /^## The rooms of src\/.*?\n(.*?)^## /ms
const PATH = /\bcrate::([a-z_]+(?:::[a-z_]+)*)/g

/** For each room of the page: the paths that it may name. */
export function listedRooms(page = readFileSync(at(PAGE), 'utf8')) {
  const [, section] = HEADING.exec(page)
  const rows = [...section.matchAll(/^\| (`.*?) \| .* \| (.*?) \|$/gm)]
  return new Map(rows.flatMap(([, rooms, names]) => codes(rooms).map(room => [room, codes(names.split(';')[0])])))
}

const codes = text => [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code.replace(/(\.rs|\/)$/, ''))

/** The rooms that src/lib.rs declares. */
export const declaredRooms = () =>
  [...readFileSync(at('src', 'lib.rs'), 'utf8').matchAll(/^(?:pub )?mod (\w+);/gm)].map(([, room]) => room)

/** The paths outside the room that its code names, without tests and comments. */
export function namedBy(room) {
  const sources = [at('src', `${room}.rs`), ...filesIn(at('src', room))].filter(path => existsSync(path))
  const named = sources.flatMap(path => pathsIn(readFileSync(path, 'utf8')))
  return [...new Set(named)].filter(path => path.split('::')[0] !== room).sort()
}

/** The paths below `crate` that a source names. */
export const pathsIn = source => [...source.replace(/^\s*\/\/.*$/gm, '').matchAll(PATH)].map(([, path]) => path)

function filesIn(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) return entry.name === 'tests' ? [] : filesIn(path)
    return entry.name.endsWith('.rs') && entry.name !== 'tests.rs' ? [path] : []
  })
}

/** Whether a path is listed, or is below a listed one. */
export const isListed = (path, listed) => listed.some(name => path === name || path.startsWith(`${name}::`))
