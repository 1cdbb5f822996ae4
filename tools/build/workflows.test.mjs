// Finds errors that would otherwise show only when the build service runs a workflow.

import { expect, test } from 'vitest'
import { problemsOf } from './workflows.mjs'

const workflow = (machine, job) => `
on: push
jobs:
  first:
    runs-on: ${machine}
    steps: [{ run: 'true' }]
  second:
    needs: ${job}
    runs-on: ubuntu-22.04
    steps: [{ run: 'true' }]
`

test('a workflow that can run has no problems', async () => {
  expect(await problemsOf(workflow('macos-15', 'first'), 'a.yml')).toEqual([])
})

test('a job that needs a missing job is a problem, and so is an unknown machine', async () => {
  expect(await problemsOf(workflow('macos-15', 'frist'), 'a.yml')).toEqual([expect.stringContaining('"frist"')])
  expect(await problemsOf(workflow('macos-3', 'first'), 'a.yml')).toEqual([expect.stringContaining('"macos-3"')])
})
