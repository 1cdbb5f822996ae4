// The variables of the build and the tests are known to the addon, so that they cause no warning in a process that inherits them.

import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { at } from './repository.mjs'

const SOURCES = /\.(rs|mjs|ts|py)$/
const VARIABLE = /MLX_SERVING_[A-Z0-9_]+/g

/** The variables that the sources in a folder name. */
function namedIn(folder) {
  return readdirSync(at(folder), { withFileTypes: true, recursive: true })
    .filter(
      entry =>
        entry.isFile() &&
        SOURCES.test(entry.name) &&
        !/node_modules|\.test\./.test(`${entry.parentPath}/${entry.name}`),
    )
    .flatMap(({ parentPath, name }) => readFileSync(`${parentPath}/${name}`, 'utf8').match(VARIABLE) ?? [])
}

test('the addon knows every variable of the build and the tests, and no others', () => {
  const used = ['native', 'tools'].flatMap(namedIn).concat(readFileSync(at('build.rs'), 'utf8').match(VARIABLE))
  const source = readFileSync(at('src', 'config', 'environment.rs'), 'utf8')
  const [, known] = /TOOL_VARIABLES: .*?= \[(.*?)\]/s.exec(source)
  expect(known.match(VARIABLE).sort()).toEqual([...new Set(used)].sort())
})
