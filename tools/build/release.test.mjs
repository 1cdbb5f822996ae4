// A release contains every package in one version, and publishes the package itself last.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { checkTag, releaseOrder } from './release.mjs'

function folderWith(...names) {
  const folder = mkdtempSync(join(tmpdir(), 'release-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const name of names) writeFileSync(join(folder, name), '')
  return folder
}

const ALL = ['mlx-serving-1.2.3.tgz', 'mlx-serving-darwin-arm64-1.2.3.tgz', 'mlx-serving-linux-x64-gnu-1.2.3.tgz']

test('the package itself is published last', () => {
  const order = releaseOrder(folderWith(...ALL), '1.2.3').map(({ tarball }) => basename(tarball))
  expect(order.toSorted()).toEqual(ALL.toSorted())
  expect(order.at(-1)).toBe('mlx-serving-1.2.3.tgz')
})

test('nothing is published while a package is missing, or there in another version only', () => {
  const missing = 'Not packed for 1.2.3: mlx-serving-darwin-arm64.'
  expect(() => releaseOrder(folderWith(ALL[0], ALL[2]), '1.2.3')).toThrow(missing)
  expect(() => releaseOrder(folderWith(ALL[0], ALL[1].replace('1.2.3', '1.2.2'), ALL[2]), '1.2.3')).toThrow(missing)
})

test('the tag must be that of the version', () => {
  expect(() => checkTag('v1.2.3', '1.2.3')).not.toThrow()
  expect(() => checkTag('v1.2.4', '1.2.3')).toThrow('must be v1.2.3')
})
