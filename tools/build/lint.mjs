// `npm run lint`: formatting and lints of both languages, the workflows, and the types of all TypeScript. Runs all checks, so
// that one run shows every problem.

import { show } from './command.mjs'
import { installPackages } from './dependencies.mjs'
import { Failure, main } from './failure.mjs'
import { at, commandOf } from './repository.mjs'
import { phase } from './terminal.mjs'

const node = (name, command, ...args) => [process.execPath, [commandOf(name, command), ...args]]
const clippy = (...args) => ['cargo', ['clippy', '--locked', '--all-targets', ...args, '--', '-D', 'warnings']]

function checks() {
  return [
    ['Rust formatting (cargo fmt)', 'cargo', ['fmt', '--all', '--check']],
    ['Rust lints, core alone (clippy)', ...clippy('--no-default-features')],
    ['Rust lints, everything (clippy)', ...clippy('--workspace')],
    ['JavaScript and TypeScript (biome)', ...node('@biomejs/biome', 'biome', 'check', '--error-on-warnings', '.')],
    ['Workflows (actionlint)', process.execPath, [at('tools', 'build', 'workflows.mjs')]],
    ['Types (tsc)', ...node('typescript', 'tsc', '--project', 'tsconfig.json')],
    ['Types of the build (tsc)', ...node('typescript', 'tsc', '--noEmit', '--project', 'tsconfig.build.json')],
    [
      'Types of tests with frameworks (tsc)',
      ...node('typescript', 'tsc', '--project', '__test__/frameworks/tsconfig.json'),
    ],
  ]
}

await main(async () => {
  await installPackages()
  const failed = []
  for (const [title, program, args] of checks()) {
    await phase(title, () => show(program, args), { speaks: true }).catch(error => {
      if (!(error instanceof Failure)) throw error
      failed.push(title)
    })
  }
  if (failed.length > 0) throw new Failure(`Failed: ${failed.join('; ')}.`)
})
