// Compiles types.test-d.ts and everything else that is TypeScript: lib/ and index.d.ts must agree.

import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { ROOT } from './support.js'

test('lib/ matches index.d.ts, and tests use it as declared', async () => {
  const tsc = path.join(path.dirname(createRequire(__filename).resolve('typescript/package.json')), 'bin', 'tsc')
  const run = promisify(execFile)(process.execPath, [tsc, '--project', 'tsconfig.json'], { cwd: ROOT })
  const output = await run.then(
    () => '',
    (error: { stdout: string }) => error.stdout,
  )
  expect(output).toBe('')
})
