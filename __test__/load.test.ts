// If the addon cannot be loaded, the error of createEngine says why and what to do.

import { expect, test } from 'vitest'
import { inNode } from './support.js'

/** Calls createEngine in a process after `prepare`, and prints the error. */
const attempt = (prepare: string) =>
  inNode(
    `${prepare}
    const { createEngine, UnsupportedPlatformError } = require('mlx-serving')
    createEngine().catch(error => console.log(error instanceof UnsupportedPlatformError, error.code, error.message))`,
    'commonjs',
  )

/** Replaces every load of the addon by `outcome`. */
const withAddon = (outcome: string) => `
  const Module = require('node:module')
  const load = Module._load
  Module._load = (request, ...rest) => {
    if (!/mlx-serving\\.node$/.test(request)) return load(request, ...rest)
    ${outcome}
  }`

const onPlatform = (platform: string, arch: string) => `
  Object.defineProperty(process, 'platform', { value: '${platform}' })
  Object.defineProperty(process, 'arch', { value: '${arch}' })`

/** A Mac with this kernel version and only these files. */
const onMac = (darwin: string, files: RegExp) => `${onPlatform('darwin', 'arm64')}
  require('node:os').release = () => '${darwin}'
  require('node:fs').existsSync = file => ${files}.test(file)`

/** A Linux with this C library. */
const withGlibc = (version: string | undefined) => `${onPlatform('linux', 'x64')}
  process.report.getReport = () => ({ header: { glibcVersionRuntime: ${JSON.stringify(version)} } })`

const notLoading = withAddon("throw new Error('GLIBC_2.35 not found')")

test('on an unsupported platform the error names the supported ones', async () => {
  const { stdout } = await attempt(onPlatform('win32', 'x64'))
  expect(stdout).toMatch(/^true UnsupportedPlatform .*does not run on win32-x64.*darwin-arm64, linux-x64\n$/)
})

test('in a Node for Intel Macs the error says to install the build for arm64', async () => {
  const { stdout } = await attempt(onPlatform('darwin', 'x64'))
  expect(stdout).toMatch(/^true UnsupportedPlatform .*does not run on darwin-x64.*install the arm64 build of Node/)
})

test('on a macOS that is too old the error says which one is needed, whatever files there are', async () => {
  const { stdout } = await attempt(onMac('22.6.0', /./))
  expect(stdout).toMatch(/^true UnsupportedPlatform .*needs macOS 14 or newer; this is macOS 13 \(Darwin 22\.6\.0\)/)
})

test('on a Mac without the Metal kernels the error names the missing file', async () => {
  const { stdout } = await attempt(onMac('23.0.0', /\.node$/))
  expect(stdout).toMatch(/^true UnsupportedPlatform mlx\.metallib is not beside the addon in .*npm\/darwin-arm64/)
})

test('on a Mac with all files the addon is loaded', async () => {
  const { stdout } = await attempt(onMac('23.0.0', /\.node$|\.metallib$/) + withAddon("throw new Error('reached')"))
  expect(stdout).toMatch(/^true UnsupportedPlatform .*could not be loaded: reached/)
})

test('on a glibc that is too old the error says which one is needed', async () => {
  const { stdout } = await attempt(withGlibc('2.31') + notLoading)
  expect(stdout).toMatch(/^true UnsupportedPlatform .*needs glibc 2\.35 or newer .*this system has 2\.31/)
})

test('on a Linux without glibc the error says that glibc is needed', async () => {
  const { stdout } = await attempt(`${withGlibc(undefined)}; require('node:fs').existsSync = () => false`)
  expect(stdout).toMatch(/^true UnsupportedPlatform .*needs glibc; this Linux uses musl/)
})

test('without the platform package the error says what to install', async () => {
  const { stdout } = await attempt("require('node:fs').existsSync = () => false")
  expect(stdout).toMatch(/^true UnsupportedPlatform .*mlx-serving-\S+ is not installed.*npm install/)
})

test('with an addon that does not load the error has the reason', async () => {
  const { stdout } = await attempt(notLoading)
  expect(stdout).toMatch(/^true UnsupportedPlatform .*could not be loaded: GLIBC_2\.35 not found/)
})

test('with an addon of another version the error names that version', async () => {
  const { stdout } = await attempt(withAddon("return { version: () => '0.0.0' }"))
  expect(stdout).toMatch(/^true UnsupportedPlatform .*addon of version 0\.0\.0/)
})
