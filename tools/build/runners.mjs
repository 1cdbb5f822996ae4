// The test runners, cargo and vitest: how each is called, and how its counts are read from its report.

import { existsSync, rmSync } from 'node:fs'
import { lines, show } from './command.mjs'
import { at, commandOf, readJson } from './repository.mjs'
import { record } from './results.mjs'

const CLOSING_LINE = /^test result: .*?(\d+) passed; (\d+) failed;/

/** Runs cargo's tests with these arguments, and adds up the closing lines of all test programs. */
export function runCargoTests(name, args, env = {}) {
  const counts = { passed: 0, failed: 0 }
  const take = line => {
    console.log(line)
    const [, passed = 0, failed = 0] = CLOSING_LINE.exec(line) ?? []
    counts.passed += Number(passed)
    counts.failed += Number(failed)
  }
  return recorded(
    name,
    () => lines('cargo', ['test', '--locked', '--no-fail-fast', ...args], take, { env: { ...process.env, ...env } }),
    () => counts,
  )
}

/** Runs the JavaScript tests against the built addon, on this Node or another one; `args` go to vitest. */
export function runVitest(name, { node = process.execPath, args: more = [] } = {}) {
  const report = at('target', 'vitest', `${name}.json`)
  rmSync(report, { force: true })
  const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...more]
  return recorded(
    name,
    () => show(node, [commandOf('vitest'), ...args]),
    () => {
      const { numPassedTests = 0, numFailedTests = 0 } = existsSync(report) ? readJson(report) : {}
      return { passed: numPassedTests, failed: numFailedTests }
    },
  )
}

/** Stores the counts of a run. A run that fails without a failed test, as on a compile error, counts as one failure. */
async function recorded(name, run, count) {
  try {
    await run()
    record(name, count())
  } catch (error) {
    const { passed, failed } = count()
    record(name, { passed, failed: failed || 1 })
    throw error
  }
}
