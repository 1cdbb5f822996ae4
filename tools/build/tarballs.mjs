// Checks a tarball before publication: its size, its contents, and a manifest without scripts. Reads the tarball itself, not
// the folder from which it was made.

import { readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { quiet } from './command.mjs'
import { Failure } from './failure.mjs'
import { at, platforms, readJson } from './repository.mjs'

const MEGABYTE = 1_000_000
const ALWAYS = ['package.json', 'README.md', 'LICENSE', 'THIRD-PARTY.md']

/** For each package: its largest packed size, the files it must have, the files it may have, and its dependencies. */
const RULES = {
  'mlx-serving': {
    megabytes: 10,
    // commander parses the command line; yaml parses runtime files, and has the line of each value. Neither has dependencies.
    dependencies: ['commander', 'yaml'],
    needed: [
      ...['dist/index.js', 'dist/index.js.map', 'dist/index.mjs', 'dist/cli/main.js'],
      ...['dist/langchain/index.js', 'dist/langchain/index.mjs', 'langchain.d.ts', 'langchain.d.mts'],
      ...['dist/ai-sdk/index.js', 'dist/ai-sdk/index.mjs', 'dist/server/index.js', 'dist/server/index.mjs'],
      ...['index.d.ts', 'index.d.mts', 'ai-sdk.d.ts', 'ai-sdk.d.mts', 'server.d.ts', 'server.d.mts'],
      ...['dist/otel/index.js', 'dist/otel/index.mjs', 'otel.d.ts', 'otel.d.mts'],
      ...['runtime.schema.json', 'CHANGELOG.md'],
    ],
    allowed:
      /^(dist\/((ai-sdk|cli|download|langchain|lifecycle|otel|server)\/)?[\w-]+\.(js|js\.map|mjs)|models\/demo\/[\w.-]+)$/,
  },
  'mlx-serving-darwin-arm64': {
    megabytes: 60,
    needed: ['mlx-serving.node', 'libmlx.dylib', 'libjaccl.dylib', 'mlx.metallib'],
    allowed: /^$/,
  },
  'mlx-serving-linux-x64-gnu': {
    megabytes: 27,
    needed: ['mlx-serving.node', 'libmlx.so'],
    allowed: /^lib(blas|lapack|gfortran|quadmath)[\w.-]*\.so\.[\d.]+$/,
  },
}

/** Fails if the tarball breaks a rule. Resolves with a line about its size. */
export async function checkTarball(tarball) {
  const manifest = JSON.parse(await quiet('tar', ['-xzOf', tarball, 'package/package.json']))
  const listed = (await quiet('tar', ['-tzf', tarball])).trim().split('\n')
  const files = listed.map(name => name.replace(/^package\//, ''))
  const size = statSync(tarball).size
  const problems = problemsOf({ manifest, files, size })
  if (problems.length > 0) throw new Failure(`${basename(tarball)}:\n  ${problems.join('\n  ')}`)
  return `${basename(tarball)}: ${inMegabytes(size)} of at most ${RULES[manifest.name].megabytes} MB`
}

const inMegabytes = bytes => (bytes / MEGABYTE).toFixed(2)

/** The rules that a package with this manifest, these files and this size breaks. */
export function problemsOf({ manifest, files, size }) {
  const rule = RULES[manifest.name]
  if (!rule) return [`there are no rules for a package called ${manifest.name}`]
  const needed = [...ALWAYS, ...rule.needed]
  return [
    ...needed.filter(name => !files.includes(name)).map(name => `${name} is missing`),
    ...files.filter(name => !needed.includes(name) && !rule.allowed.test(name)).map(name => `${name} does not belong`),
    ...(size < rule.megabytes * MEGABYTE ? [] : [`${inMegabytes(size)} MB; at most ${rule.megabytes} are allowed`]),
    ...manifestProblems(manifest),
  ]
}

function manifestProblems({ name, version, scripts, dependencies, optionalDependencies }) {
  const problems = []
  if (scripts) problems.push('it has scripts, which package managers run or refuse to run')
  problems.push(...dependencyProblems(name, dependencies ?? {}))
  const expected = name === 'mlx-serving' ? platformPackages() : undefined
  if (JSON.stringify(optionalDependencies) !== JSON.stringify(expected)) {
    problems.push(`its optional dependencies must be ${JSON.stringify(expected)}`)
  }
  const released = releasedVersion()
  if (version !== released) problems.push(`its version is ${version}; Cargo.toml has ${released}`)
  return problems
}

/** Packages that are not ours are few, and of one version each, so that what was tested is what gets installed. */
function dependencyProblems(name, dependencies) {
  const allowed = RULES[name].dependencies ?? []
  return Object.entries(dependencies).flatMap(([dependency, range]) => [
    ...(allowed.includes(dependency) ? [] : [`it depends on ${dependency}`]),
    ...(/^\d+\.\d+\.\d+$/.test(range) ? [] : [`${dependency} must have one exact version, not ${range}`]),
  ])
}

/** The version in Cargo.toml, which all other files repeat. */
export const releasedVersion = () => /^version = "(.*)"/m.exec(readFileSync(at('Cargo.toml'), 'utf8'))[1]

function platformPackages() {
  const { version } = readJson(at('package.json'))
  return Object.fromEntries(platforms().map(target => [target.package, version]))
}
