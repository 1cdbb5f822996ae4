// A release has every package in one version, publishes the package itself last, and refuses pages that do not stand alone.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { quiet } from './command.mjs'
import { addressesOf } from './page.mjs'
import { checkPage, checkTag, releaseOrder } from './release.mjs'

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

test('nothing is published while a package is missing or has another version', () => {
  const missing = 'Not packed for 1.2.3: mlx-serving-darwin-arm64.'
  expect(() => releaseOrder(folderWith(ALL[0], ALL[2]), '1.2.3')).toThrow(missing)
  expect(() => releaseOrder(folderWith(ALL[0], ALL[1].replace('1.2.3', '1.2.2'), ALL[2]), '1.2.3')).toThrow(missing)
})

test('the tag must be that of the version', () => {
  expect(() => checkTag('v1.2.3', '1.2.3')).not.toThrow()
  expect(() => checkTag('v1.2.4', '1.2.3')).toThrow('must be v1.2.3')
})

async function tarballWith(files) {
  const folder = folderWith()
  mkdirSync(join(folder, 'package'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, 'package', name), text)
  const tarball = join(folder, 'mlx-serving-1.2.3.tgz')
  await quiet('tar', ['-czf', tarball, '-C', folder, 'package'])
  return tarball
}

test('a package is published only if its pages stand alone', async () => {
  const files = {
    'package.json': JSON.stringify(addressesOf('https://git.example/owner/name')),
    'README.md': '```sh\nnpm install mlx-serving\n```\n',
    'CHANGELOG.md': '## [1.2.3] - 2027-01-01\n',
  }
  await checkPage(await tarballWith(files))
  const early = checkPage(await tarballWith({ ...files, 'CHANGELOG.md': '## [1.2.3] - Unreleased\n' }))
  await expect(early).rejects.toThrow('mlx-serving-1.2.3.tgz:\n  CHANGELOG.md calls something unreleased')
})
