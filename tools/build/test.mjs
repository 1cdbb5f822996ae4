// `npm test`: builds what is missing, then runs all tests: the pure core, the engine with MLX's reference BLAS,
// reproducibility with the BLAS that ships, and the JavaScript tests against the release addon. Stops at the first runner
// that fails.

import { build } from './build.mjs'
import { main } from './failure.mjs'
import { platform } from './repository.mjs'
import { reset, summarize } from './results.mjs'
import { runCargoTests, runVitest } from './runners.mjs'
import { phase } from './terminal.mjs'

const speaks = { speaks: true }

/** Lets a test program load the libraries that ship instead of those with which it was linked. */
const librariesOfAddon = { LD_LIBRARY_PATH: platform().folder, OPENBLAS_NUM_THREADS: '1' }

await main(async () => {
  reset()
  await build()
  try {
    await phase(
      'Testing the core (cargo test --no-default-features)',
      () => runCargoTests('core', ['--no-default-features']),
      speaks,
    )
    await phase(
      'Testing what threads share, in every order (cargo test --features loom)',
      () =>
        runCargoTests('threads', ['--no-default-features', '--features', 'loom', '--lib', 'answers::tests::threads']),
      speaks,
    )
    // Documentation tests already ran with the core: cargo gives their programs no run path to MLX.
    const whole = ['--workspace', '--lib', '--bins', '--tests']
    await phase('Testing the engine with MLX (cargo test)', () => runCargoTests('engine', whole), speaks)
    // With the same packages as before: cargo would compile the program again for another selection.
    const reproducibility = ['--workspace', '--test', 'conformance', 'deterministic']
    const ownBlas = (name, environment) => runCargoTests(name, reproducibility, { ...librariesOfAddon, ...environment })
    await phase(
      'Testing reproducibility with the addon’s own linear algebra',
      () => ownBlas('engine-own-blas', {}),
      speaks,
    )
    // OpenBLAS chooses kernels by processor. The AVX2 kernels are position-invariant for other shapes than the newer ones.
    await phase(
      'Testing reproducibility with its kernels for AVX2',
      () => ownBlas('engine-own-blas-avx2', { OPENBLAS_CORETYPE: 'Haswell' }),
      speaks,
    )
    await phase(
      'Testing from JavaScript (vitest)',
      () => runVitest(`node-${process.versions.node.split('.')[0]}`),
      speaks,
    )
  } finally {
    console.log()
    summarize()
  }
})
