// `npm run test:clients`: clients that are not packages of npm, on a server with the bundled model. Installs Python's client of
// OpenAI into the cache.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { build } from '../build/build.mjs'
import { Failure, main } from '../build/failure.mjs'
import { at } from '../build/repository.mjs'
import { record } from '../build/results.mjs'
import { phase } from '../build/terminal.mjs'
import { PYTHON, wheels } from '../build/wheels.mjs'

await main(async () => {
  await build()
  const folder = await wheels('openai')
  await phase('Testing with the client of OpenAI (Python)', () => served(url => openai(folder, url)), { speaks: true })
})

/** Runs `work` with the address of a server that runs as a command. */
async function served(work) {
  const server = spawn(process.execPath, [at('dist', 'cli', 'main.js'), 'serve', '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    const { value: url } = await createInterface({ input: server.stdout })[Symbol.asyncIterator]().next()
    if (url === undefined) throw new Failure('The server did not start.')
    await work(url)
  } finally {
    const ended = once(server, 'exit')
    if (server.exitCode === null && server.kill()) await ended
  }
}

/** Runs the tests. The last lines of their output have the number of tests and of failures. */
async function openai(folder, url) {
  const env = { ...process.env, PYTHONPATH: folder, OPENAI_BASE_URL: `${url}/v1`, OPENAI_API_KEY: 'none' }
  const child = spawn(PYTHON, [at('tools', 'clients', 'openai_client.py')], {
    env,
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  let report = ''
  child.stderr.on('data', data => (report += data))
  await once(child, 'close')
  console.log(report)
  const ran = Number(/^Ran (\d+) tests?/m.exec(report)?.[1] ?? 0)
  const failures = /^FAILED \((.*)\)$/m.exec(report)?.[1] ?? ''
  const failed = [...failures.matchAll(/(?:failures|errors)=(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0)
  record('clients', { passed: ran - failed, failed: failed || Number(ran === 0) })
  if (child.exitCode !== 0 || ran === 0) throw new Failure('The tests with the client of OpenAI failed.')
}
