// The table of rooms in docs/architecture.md is true: a room names the rooms that its row lists, and no others.

import { expect, test } from 'vitest'
import { declaredRooms, isListed, listedRooms, namedBy, pathsIn } from './rooms.mjs'

const rooms = listedRooms()

test('the table lists every room of src/', () => {
  expect([...rooms.keys()].filter(room => room !== 'lib').sort()).toEqual(declaredRooms().sort())
})

test.each([...rooms])('%s names only the rooms of its row, and all of them', (room, listed) => {
  const named = namedBy(room)
  expect(named.filter(path => !isListed(path, listed))).toEqual([])
  expect(listed.filter(name => !named.some(path => isListed(path, [name])))).toEqual([])
})

test('rooms and parts of rooms are read from a row, without those that it never names', () => {
  const page =
    '## The rooms of src/\n| `a/` | `x` | `b`, `c::d`; never `e` |\n| `b.rs`, `c.rs` | y | nothing |\n## Next\n'
  expect([...listedRooms(page)]).toEqual([
    ['a', ['b', 'c::d']],
    ['b', []],
    ['c', []],
  ])
  expect(isListed('c::d::e', ['b', 'c::d'])).toBe(true)
  expect(isListed('c::de', ['b', 'c::d'])).toBe(false)
})

test('paths in comments do not count', () => {
  expect(pathsIn('//! [`crate::a`]\nuse crate::b::c::D;\n  // crate::e\nlet f = crate::g::h();\n')).toEqual([
    'b::c',
    'g::h',
  ])
})
