// A tarball that breaks a rule is refused with the reason.

import { expect, test } from 'vitest'
import { publishedManifest } from './pack.mjs'
import { platformNamed, readJson } from './repository.mjs'
import { problemsOf } from './tarballs.mjs'

const ROOT_FILES = [
  ...['package.json', 'README.md', 'LICENSE', 'THIRD-PARTY.md', 'CHANGELOG.md', 'index.d.ts', 'index.d.mts'],
  'runtime.schema.json',
  ...['dist/otel/index.js', 'dist/otel/index.mjs', 'dist/otel/attributes.js', 'otel.d.ts', 'otel.d.mts'],
  ...['server.d.ts', 'server.d.mts', 'dist/server/index.js', 'dist/server/index.mjs', 'dist/server/chat.js'],
  ...[
    'dist/index.js',
    'dist/index.js.map',
    'dist/index.mjs',
    'dist/load.js',
    'dist/download/file.js',
    'dist/cli/main.js',
    ...['dist/langchain/index.js', 'dist/langchain/index.mjs', 'langchain.d.ts', 'langchain.d.mts'],
    ...['dist/ai-sdk/index.js', 'dist/ai-sdk/index.mjs', 'dist/ai-sdk/model.js', 'ai-sdk.d.ts', 'ai-sdk.d.mts'],
    'models/demo/config.json',
  ],
]
const MAC_FILES = [
  ...['package.json', 'README.md', 'LICENSE', 'THIRD-PARTY.md'],
  ...['mlx-serving.node', 'libmlx.dylib', 'libjaccl.dylib', 'mlx.metallib'],
]
const macManifest = readJson(`${platformNamed('darwin-arm64').folder}/package.json`)

const root = changes => problemsOf({ manifest: publishedManifest(), files: ROOT_FILES, size: 9_999_999, ...changes })
const mac = changes => problemsOf({ manifest: macManifest, files: MAC_FILES, size: 59_999_999, ...changes })

test('packages that follow the rules have no problems', () => {
  expect(root()).toEqual([])
  expect(mac()).toEqual([])
})

test('a missing file is a problem, and so is a file that does not belong', () => {
  expect(mac({ files: MAC_FILES.filter(name => name !== 'mlx.metallib') })).toEqual(['mlx.metallib is missing'])
  expect(root({ files: [...ROOT_FILES, 'src/lib.rs'] })).toEqual(['src/lib.rs does not belong'])
})

test('a tarball that is too large is a problem', () => {
  expect(root({ size: 10_000_000 })).toEqual(['10.00 MB; at most 10 are allowed'])
  expect(mac({ size: 60_000_000 })).toEqual(['60.00 MB; at most 60 are allowed'])
})

test('scripts, other dependencies and platform packages of another version are problems', () => {
  const manifest = publishedManifest()
  expect(root({ manifest: { ...manifest, scripts: { postinstall: 'true' } } })).toEqual([
    'it has scripts, which package managers run or refuse to run',
  ])
  expect(root({ manifest: { ...manifest, dependencies: { sharp: '1.0.0' } } })).toEqual(['it depends on sharp'])
  expect(root({ manifest: { ...manifest, dependencies: { commander: '^14.0.3' } } })).toEqual([
    'commander must have one exact version, not ^14.0.3',
  ])
  expect(mac({ manifest: { ...macManifest, dependencies: { commander: '14.0.3' } } })).toEqual([
    'it depends on commander',
  ])
  const [message] = root({ manifest: { ...manifest, optionalDependencies: { 'mlx-serving-darwin-arm64': '^0.0.1' } } })
  expect(message).toMatch(/^its optional dependencies must be .*"mlx-serving-darwin-arm64":"\d+\.\d+\.\d+"/)
})

test('a version other than that of Cargo.toml is a problem', () => {
  expect(mac({ manifest: { ...macManifest, version: '9.9.9' } })).toEqual([
    `its version is 9.9.9; Cargo.toml has ${macManifest.version}`,
  ])
})

test('a package without rules is a problem', () => {
  expect(problemsOf({ manifest: { name: 'left-pad' }, files: [], size: 0 })).toEqual([
    'there are no rules for a package called left-pad',
  ])
})
