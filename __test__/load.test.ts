// Where the addon cannot be had, createEngine says why and what to do.

import { expect, test } from 'vitest'
import { inNode } from './support.js'

/** Calls createEngine in a process in which `prepare` has run, and prints the error. */
const attempt = (prepare: string) =>
  inNode(
    `${prepare}
    const { createEngine, UnsupportedPlatformError } = require('mlx-serving')
    createEngine().catch(error => console.log(error instanceof UnsupportedPlatformError, error.code, error.message))`,
    'commonjs',
  )

/** Lets every lookup of the addon end in `outcome`. */
const withAddon = (outcome: string) => `
  const Module = require('node:module')
  const load = Module._load
  Module._load = (request, ...rest) => {
    if (!/mlx-serving\\.node$/.test(request)) return load(request, ...rest)
    ${outcome}
  }`

test('on a platform that is not supported', async () => {
  const { stdout } = await attempt("Object.defineProperty(process, 'platform', { value: 'win32' })")
  expect(stdout).toMatch(/^true UnsupportedPlatform .*does not run on win32-.*darwin-arm64, linux-x64/)
})

test('where npm left the platform package out', async () => {
  const { stdout } = await attempt("require('node:fs').existsSync = () => false")
  expect(stdout).toMatch(/^true UnsupportedPlatform .*mlx-serving-\S+ is not installed.*npm install/)
})

test('where the addon is there and does not load', async () => {
  const { stdout } = await attempt(withAddon("throw new Error('GLIBC_2.35 not found')"))
  expect(stdout).toMatch(/^true UnsupportedPlatform .*could not be loaded: GLIBC_2\.35 not found/)
})

test('where the addon is of another version', async () => {
  const { stdout } = await attempt(withAddon("return { version: () => '0.0.0' }"))
  expect(stdout).toMatch(/^true UnsupportedPlatform .*addon of version 0\.0\.0/)
})
