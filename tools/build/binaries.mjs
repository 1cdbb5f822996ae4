// `npm run check:darwin`, `npm run check:linux`: checks that the binaries of a platform package will load where it is
// installed. They must be made for the oldest supported system, find every library beside them or in that system, and
// contain no path of the machine that built them. binary_facts.py reads the files; this script decides.

import { readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { buildAddon } from './addon.mjs'
import { OLDEST_MACOS } from './cargo.mjs'
import { quiet } from './command.mjs'
import { systemStubs } from './darwin/toolchain.mjs'
import { Failure, main } from './failure.mjs'
import { at, platformNamed, root } from './repository.mjs'
import { phase } from './terminal.mjs'
import { PYTHON, wheels } from './wheels.mjs'

const ADDON = 'mlx-serving.node'
const LIBSYSTEM = '/usr/lib/libSystem.B.dylib'
const LIBCXX = '/usr/lib/libc++.1.dylib'
const MAC_LIBRARIES = [LIBSYSTEM, LIBCXX, '/usr/lib/libiconv.2.dylib', '/usr/lib/libobjc.A.dylib']
const MAC_FRAMEWORKS = '/System/Library/Frameworks/'
const LINUX_LIBRARIES = ['libc.so.6', 'libm.so.6', 'libstdc++.so.6', 'libgcc_s.so.1', 'ld-linux-x86-64.so.2']
/** The versions in Ubuntu 22.04, the oldest system that MLX's released binary supports. */
const OLDEST_LINUX = { GLIBC: '2.35', GLIBCXX: '3.4.30', CXXABI: '1.3.13' }
/** Home folders of users and build services. Source paths of the Rust toolchain and of crates are remapped. */
const MACHINE_PATHS = [/\/home\/\w+\//, /\/Users\/\w+\//]

/** Fails unless the binaries of the platform package will load. The addon must be built. */
export async function checkBinaries(target) {
  const facts = await phase(`Checking the binaries of ${target.package}`, () => readFacts(target))
  const problems = target.name === 'darwin-arm64' ? macProblems(facts, await systemSymbols()) : linuxProblems(facts)
  problems.push(...pathProblems(readFileSync(join(target.folder, ADDON), 'latin1')))
  if (problems.length > 0) throw new Failure(`${target.package}:\n  ${problems.join('\n  ')}`)
}

/** Facts by file name, of the addon and the libraries beside it. */
async function readFacts({ folder }) {
  const files = readdirSync(folder).filter(name => name === ADDON || /\.(so|dylib)(\.|$)/.test(name))
  const environment = { ...process.env, PYTHONPATH: await wheels('binaries') }
  const script = at('tools', 'build', 'binary_facts.py')
  const said = await quiet(PYTHON, [script, ...files.map(name => join(folder, name))], { env: environment })
  return Object.fromEntries(Object.entries(JSON.parse(said)).map(([path, facts]) => [basename(path), facts]))
}

/** The symbols of each system library against which the addon was linked. */
async function systemSymbols() {
  const stubs = await systemStubs()
  return { [LIBSYSTEM]: symbolsOf(join(stubs, 'libSystem.tbd')), [LIBCXX]: symbolsOf(join(stubs, 'libc++.tbd')) }
}

const symbolsOf = stub => new Set(readFileSync(stub, 'utf8').match(/(?<![\w$.])(_[\w$.]+|dyld_stub_binder)/g))

/** Reasons why the addon, or a library beside it, would not load on the oldest macOS. */
export function macProblems(files, symbols) {
  const { [ADDON]: addon, 'libmlx.dylib': mlx } = files
  const offered = { ...symbols, '@rpath/libmlx.dylib': new Set(mlx.exports) }
  return [
    ...Object.entries(files).flatMap(([name, facts]) => machProblems(name, facts, Object.keys(files))),
    ...expect('looks for libraries in', addon.runPaths, ['@loader_path']),
    ...missing(addon.exports, '_napi_register_module_v1'),
    ...importProblems(addon.imports, offered),
  ]
}

function machProblems(name, facts, beside) {
  const known = [...MAC_LIBRARIES, ...beside.map(file => `@rpath/${file}`)]
  const isThere = library => known.includes(library) || library.startsWith(MAC_FRAMEWORKS)
  return [
    ...expect('is for', [facts.format, facts.machine], ['mach-o', 'arm64'], name),
    ...expect('needs macOS', facts.oldest, [OLDEST_MACOS], name),
    ...expect('calls itself', facts.name, [`@rpath/${name}`], name),
    // Apple silicon loads no file that is unsigned or was changed after signing.
    ...expect('is signed', facts.signature, [{ adHoc: true, covered: true, wrongPages: 0 }], name),
    ...facts.libraries.filter(library => !isThere(library)).map(library => `${name} needs ${library}`),
  ]
}

function importProblems(imports, offered) {
  const problems = imports.flatMap(([name, library]) => {
    // Node provides these.
    if (library === null && /^_(napi|node_api)_/.test(name)) return []
    return offered[library]?.has(name) ? [] : [`${name} is not found in ${library ?? 'any library that is linked'}`]
  })
  // MLX throws exceptions into the addon, so both must use the system's C++ runtime.
  const throws = imports.some(([name, library]) => name === '___cxa_throw' && library === LIBCXX)
  return throws ? problems : [...problems, `${ADDON} has its own C++ runtime`]
}

/** Reasons why the addon, or a library beside it, would not load on the oldest Linux. */
export function linuxProblems(files) {
  const blas = Object.keys(files).find(name => name.startsWith('libblas'))
  return [
    ...expect('looks for libraries in', files[ADDON].runPaths, ['$ORIGIN']),
    ...missing(files[ADDON].exports, 'napi_register_module_v1'),
    ...(files[blas]?.exports.includes('openblas_get_config') ? [] : ['OpenBLAS is not among the libraries']),
    ...Object.entries(files).flatMap(([name, facts]) => elfProblems(name, facts, Object.keys(files))),
  ]
}

function elfProblems(name, { format, machine, runPaths, libraries, versions }, beside) {
  const known = [...LINUX_LIBRARIES, ...beside]
  return [
    ...expect('is for', [format, machine], ['elf', 'EM_X86_64'], name),
    ...runPaths.filter(path => path !== '$ORIGIN').map(path => `${name} looks for libraries in ${path}`),
    ...libraries.filter(library => !known.includes(library)).map(library => `${name} needs ${library}`),
    ...versions.filter(isTooNew).map(version => `${name} needs ${version}`),
  ]
}

function isTooNew(version) {
  const [, library, number] = /^(\w+?)_([\d.]+)$/.exec(version) ?? []
  const oldest = OLDEST_LINUX[library]
  return oldest !== undefined && number.localeCompare(oldest, 'en', { numeric: true }) > 0
}

/** Paths of the build machine that the addon contains. */
export function pathProblems(text) {
  const own = [root, homedir()].filter(path => text.includes(`${path}/`))
  const others = MACHINE_PATHS.map(pattern => pattern.exec(text)?.[0]).filter(Boolean)
  return [...new Set([...own, ...others])].map(path => `${ADDON} has the path ${path} of the machine that built it`)
}

function expect(what, found, wanted, name = ADDON) {
  const [a, b] = [found, wanted].map(value => JSON.stringify(value))
  return a === b ? [] : [`${name} ${what} ${a}, not ${b}`]
}

const missing = (exported, name) => (exported.includes(name) ? [] : [`${ADDON} does not export ${name}`])

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(async () => {
    const target = platformNamed(process.argv[2])
    await buildAddon(target)
    await checkBinaries(target)
  })
}
