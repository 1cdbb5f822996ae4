// The engine configures the BLAS beside the addon, and no BLAS of another package.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { inNode } from './support.js'

// On a Mac BLAS is part of the system.
test.skipIf(process.platform !== 'linux')('an OpenBLAS in the global scope of the process is not changed', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'blas-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const [source, library, log] = ['blas.c', 'libopenblas.so.0', 'log'].map(name => path.join(folder, name))
  writeFileSync(log, '')
  writeFileSync(
    source,
    `#include <stdio.h>
    void openblas_set_num_threads(int n) { FILE *f = fopen("${log}", "a"); fprintf(f, "%d", n); fclose(f); }
    __attribute__((constructor)) static void loaded(void) { FILE *f = fopen("${log}", "a"); fputs("loaded ", f); fclose(f); }`,
  )
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, source])
  const script = `
    process.env.LD_PRELOAD = ''
    const { createEngine } = await import('mlx-serving')
    const engine = await createEngine()
    const model = await engine.loadModel()
    console.log((await engine.generate({ model, prompt: 'Once', maxTokens: 2 })).tokens.length)
    await engine.dispose()`
  expect(await inNode(script, 'module', [], { LD_PRELOAD: library })).toMatchObject({ code: 0, stdout: '2\n' })
  expect(readFileSync(log, 'utf8')).toBe('loaded ')
})
