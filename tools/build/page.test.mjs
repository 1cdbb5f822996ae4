// The README of a packed package stands alone: its links are absolute, and it says nothing that holds in a checkout only.

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { addressesOf, PAGES, packedPage, pageProblems } from './page.mjs'
import { at } from './repository.mjs'

const address = 'https://git.example/owner/name'
const version = '1.2.3'
const packed = text => packedPage(text, { address, version })

test('links and pictures become absolute; other addresses, anchors and code stay', () => {
  const text = '![a picture](docs/a.svg) [page](docs/a.md#b) [`code`](lib) [web](https://x.org) [here](#there)\n'
  expect(packed(text)).toBe(
    `![a picture](${address}/raw/v1.2.3/docs/a.svg) [page](${address}/blob/v1.2.3/docs/a.md#b) ` +
      `[\`code\`](${address}/blob/v1.2.3/lib) [web](https://x.org) [here](#there)\n`,
  )
  const code = '```js\nconst x = [y](z)\n```\n'
  expect(packed(code)).toBe(code)
})

test('parts for a checkout are left out, with or without an address', () => {
  const text = 'Before.\n\n<!-- in a checkout -->\nBuild it.\n<!-- end -->\n\nAfter.\n'
  expect([packed(text), packedPage(text, { version })]).toEqual(['Before.\n\nAfter.\n', 'Before.\n\nAfter.\n'])
})

test('one address gives all fields of the manifest', () => {
  expect(addressesOf(address)).toEqual({
    homepage: `${address}#readme`,
    bugs: `${address}/issues`,
    repository: { type: 'git', url: `git+${address}.git` },
  })
  expect(addressesOf(undefined)).toEqual({})
})

test.each(['owner/name', `${address}/`, `${address}.git`, 'git@git.example:owner/name'])('%s is no address', wrong => {
  expect(() => addressesOf(wrong)).toThrow(`not as ${wrong}`)
})

const ownPages = () => Object.fromEntries(PAGES.map(name => [name, packed(readFileSync(at(name), 'utf8'))]))
const dated = pages => ({ ...pages, 'CHANGELOG.md': pages['CHANGELOG.md'].replace('Unreleased', '2027-01-01') })

test('the pages of this repository stand alone once the changelog has a date', () => {
  expect(pageProblems(addressesOf(address), dated(ownPages()))).toEqual([])
  expect(pageProblems(addressesOf(address), ownPages())).toEqual(['CHANGELOG.md calls something unreleased'])
})

test('a package without an address, with relative links, or that begins with a build is refused', () => {
  const readme = '[page](docs/a.md)\n```sh\nnpm start\n```\n'
  expect(pageProblems({}, { 'README.md': readme, 'CHANGELOG.md': '' })).toEqual([
    'package.json has no homepage',
    'package.json has no bugs',
    'package.json has no repository',
    'README.md links to docs/a.md, which the package does not show',
    'the first code in README.md must be npm install mlx-serving',
  ])
})
