// Compiles everything that is TypeScript: lib/ and the public types must agree. Tests with packages whose own types need other
// settings are a project of their own.

import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { ROOT } from './support.js'

// The build also has lib/langchain/, which needs other settings than the rest.
const PROJECTS = ['tsconfig.json', 'tsconfig.build.json', '__test__/frameworks/tsconfig.json']

test.each(PROJECTS)(
  'lib/ matches the public types, and tests use it as declared: %s',
  async project => {
    const tsc = path.join(path.dirname(createRequire(__filename).resolve('typescript/package.json')), 'bin', 'tsc')
    const run = promisify(execFile)(process.execPath, [tsc, '--noEmit', '--project', project], { cwd: ROOT })
    const output = await run.then(
      () => '',
      (error: { stdout: string }) => error.stdout,
    )
    expect(output).toBe('')
  },
  120_000,
)
