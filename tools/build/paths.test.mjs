// Broken links and names of missing files are reported, and no others.

import { expect, test } from 'vitest'
import { brokenIn } from './paths.mjs'

test('links and names that exist are not reported', () => {
  const links = '[a](errors.md) [b](scheduler.md#priorities) [c](../bench/README.md) [d](https://example.org/x)'
  const names = '`src/lib.rs` `engine/mod.rs` `lib.rs` `text/jinja/` `dist/index.js`'
  expect(brokenIn('docs/api.md', `${links}\n${names}\n`)).toEqual([])
})

test('a missing file, a missing heading and missing names are reported', () => {
  const text = '[a](gone.md) [b](api.md#gone) `engine/gone.rs` `src/gone/`\n```sh\n`src/in_code.rs`\n```\n'
  expect(brokenIn('docs/x.md', text)).toEqual([
    'docs/x.md: gone.md is not there',
    'docs/x.md: api.md#gone is not there',
    'docs/x.md: engine/gone.rs is not there',
    'docs/x.md: src/gone/ is not there',
  ])
})
