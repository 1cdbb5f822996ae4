// The check finds and names each reason why a binary would not load where it is installed.

import { expect, test } from 'vitest'
import { linuxProblems, macProblems, pathProblems } from './binaries.mjs'

const LIBSYSTEM = '/usr/lib/libSystem.B.dylib'
const LIBCXX = '/usr/lib/libc++.1.dylib'

const MAC_ADDON = {
  format: 'mach-o',
  machine: 'arm64',
  oldest: ['14.0'],
  name: ['@rpath/mlx-serving.node'],
  libraries: [LIBCXX, '/usr/lib/libiconv.2.dylib', '@rpath/libmlx.dylib', LIBSYSTEM],
  runPaths: ['@loader_path'],
  imports: [
    ['_malloc', LIBSYSTEM],
    ['___cxa_throw', LIBCXX],
    ['__ZdlPv', LIBCXX],
    ['_mlx_eval', '@rpath/libmlx.dylib'],
    ['_napi_create_object', null],
  ],
  exports: ['_napi_register_module_v1'],
  signature: [{ adHoc: true, covered: true, wrongPages: 0 }],
}

const MAC_MLX = {
  ...MAC_ADDON,
  name: ['@rpath/libmlx.dylib'],
  libraries: [LIBCXX, '/System/Library/Frameworks/Metal.framework/Versions/A/Metal'],
  exports: ['_mlx_eval'],
}

const mac = (addon, mlx) =>
  macProblems(
    { 'mlx-serving.node': { ...MAC_ADDON, ...addon }, 'libmlx.dylib': { ...MAC_MLX, ...mlx } },
    { [LIBSYSTEM]: new Set(['_malloc']), [LIBCXX]: new Set(['___cxa_throw', '__ZdlPv']) },
  )

const importing = (...imports) => mac({ imports: [...MAC_ADDON.imports, ...imports] })

test('an addon that will load on a Mac has no problems', () => expect(mac()).toEqual([]))

test.each([
  ['another processor', { machine: 'x86_64' }, 'is for ["mach-o","x86_64"]'],
  ['a newer macOS', { oldest: ['26.0'] }, 'needs macOS ["26.0"], not ["14.0"]'],
  ['a path of the build as its name', { name: ['/build/libmlx_serving.dylib'] }, 'calls itself'],
  ['no way to its libraries', { runPaths: [] }, 'looks for libraries in []'],
  ['no signature', { signature: [] }, 'is signed []'],
  [
    'a page that was changed after signing',
    { signature: [{ adHoc: true, covered: true, wrongPages: 1 }] },
    'is signed',
  ],
  ['no entry for Node', { exports: [] }, 'does not export _napi_register_module_v1'],
  ['a library that is not on every Mac', { libraries: ['/opt/homebrew/libgcc_s.dylib'] }, 'needs /opt/homebrew'],
])('an addon for a Mac with %s', (_, changes, message) => {
  expect(mac(changes)).toEqual([expect.stringContaining(message)])
})

test('problems of a library beside the addon are found', () => {
  expect(mac({}, { oldest: ['26.0'] })).toEqual(['libmlx.dylib needs macOS ["26.0"], not ["14.0"]'])
  expect(mac({}, { libraries: ['@rpath/libomp.dylib'] })).toEqual(['libmlx.dylib needs @rpath/libomp.dylib'])
  expect(mac({}, { signature: [] })).toEqual([expect.stringContaining('libmlx.dylib is signed []')])
})

test('symbols that no library has are found', () => {
  expect(importing(['_getrandom', LIBSYSTEM])).toEqual([`_getrandom is not found in ${LIBSYSTEM}`])
  expect(importing(['__ZNSt3__113__hash_memoryEPKvm', LIBCXX])).toEqual([expect.stringContaining('__hash_memory')])
  expect(importing(['_mlx_gone', '@rpath/libmlx.dylib'])).toEqual([
    expect.stringContaining('_mlx_gone is not found in'),
  ])
  expect(importing(['_cblas_sgemm', null])).toEqual(['_cblas_sgemm is not found in any library that is linked'])
})

test('a C++ runtime inside the addon is a problem', () => {
  expect(mac({ imports: [['_malloc', LIBSYSTEM]] })).toEqual(['mlx-serving.node has its own C++ runtime'])
})

const elf = changes => ({
  format: 'elf',
  machine: 'EM_X86_64',
  runPaths: ['$ORIGIN'],
  libraries: ['libc.so.6'],
  versions: ['GLIBC_2.35', 'GLIBCXX_3.4.30', 'GFORTRAN_8'],
  exports: [],
  ...changes,
})
const linux = (addon, blas) =>
  linuxProblems({
    'mlx-serving.node': elf({ exports: ['napi_register_module_v1'], libraries: ['libblas-1.so.3'], ...addon }),
    'libblas-1.so.3': elf({ exports: ['openblas_get_config'], ...blas }),
  })

test('an addon that will load on Linux has no problems', () => expect(linux()).toEqual([]))

test.each([
  ['no way to its libraries', { runPaths: ['/usr/lib'] }, {}, 'mlx-serving.node looks for libraries in ["/usr/lib"]'],
  ['no entry for Node', { exports: [] }, {}, 'mlx-serving.node does not export napi_register_module_v1'],
  ['symbols of a newer glibc', { versions: ['GLIBC_2.36'] }, {}, 'mlx-serving.node needs GLIBC_2.36'],
  ['a library for a newer C++ runtime', {}, { versions: ['GLIBCXX_3.4.31'] }, 'libblas-1.so.3 needs GLIBCXX_3.4.31'],
  ['a library that is not on every Linux', {}, { libraries: ['libopenblas.so.0'] }, 'needs libopenblas.so.0'],
  ['a library for another processor', {}, { machine: 'EM_AARCH64' }, 'libblas-1.so.3 is for ["elf","EM_AARCH64"]'],
  ['the reference BLAS', {}, { exports: ['dgemm_'] }, 'OpenBLAS is not among the libraries'],
])('an addon for Linux with %s', (_, addon, blas, message) => {
  expect(linux(addon, blas)).toContainEqual(expect.stringContaining(message))
})

test('paths of the machine that built the addon are problems', () => {
  expect(pathProblems('panicked at crates/serde/src/de.rs, /usr/lib/libc.so.6')).toEqual([])
  expect(pathProblems('/home/someone/.cargo/registry/src/lib.rs')).toEqual([expect.stringContaining('/home/someone/')])
  expect(pathProblems('/Users/runner/work/lib.rs')).toEqual([expect.stringContaining('/Users/runner/')])
})
