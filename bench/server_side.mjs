// Side (d): mlx_lm.server over loopback with its defaults: one streaming completion for each prompt, all at once, greedy. The
// client is this process.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Failure } from '../tools/build/failure.mjs'

const HOST = '127.0.0.1'
const START_SECONDS = 120
/** Characters at the end of an answer that hold its usage. */
const END_LENGTH = 1000

/** The side: a server whose client is this process. */
export async function startServer(interpreter, folder, env) {
  const { post, pid, close } = await launchServer(interpreter, folder, env)
  return {
    pid,
    close,
    async run({ prompts, numTokens }) {
      const begin = performance.now()
      const rows = await Promise.all(prompts.map(({ text }) => post(text, numTokens, begin)))
      const totalMs = performance.now() - begin
      const short = rows.find(row => row.numTokens !== numTokens)
      if (short) throw new Failure(`mlx_lm.server gave ${short.numTokens} tokens instead of ${numTokens}.`)
      return { totalMs, firstMs: rows.map(row => row.firstMs) }
    },
  }
}

/** Starts a server with a model and waits until it answers. */
export async function launchServer(interpreter, folder, env) {
  const port = await freePort()
  const args = [
    '-m',
    'mlx_lm',
    'server',
    '--model',
    folder,
    '--host',
    HOST,
    '--port',
    `${port}`,
    '--log-level',
    'ERROR',
  ]
  const child = spawn(interpreter, args, { env, stdio: ['ignore', 'ignore', 'ignore'] })
  const post = (prompt, numTokens, begin) => complete({ port, folder }, { prompt, numTokens, begin })
  await untilReady(child, () => post('t1', 1, performance.now()))
  return {
    pid: child.pid,
    port,
    post,
    async close() {
      child.kill()
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    },
  }
}

async function untilReady(child, ask) {
  const end = performance.now() + 1000 * START_SECONDS
  while (performance.now() < end && child.exitCode === null) {
    if (
      await ask().then(
        () => true,
        () => false,
      )
    )
      return
    await sleep(250)
  }
  child.kill()
  throw new Failure('mlx_lm.server did not start.')
}

/** One completion: the time of its first text, and the number of tokens that the server reports. */
function complete({ port, folder }, { prompt, numTokens, begin }) {
  const body = {
    model: folder,
    prompt,
    max_tokens: numTokens,
    temperature: 0,
    stream: true,
    stream_options: { include_usage: true },
  }
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: HOST, port, method: 'POST', path: '/v1/completions' }, response => {
      const seen = { firstMs: undefined, end: '' }
      response.setEncoding('utf8')
      response.on('data', text => {
        // Comments before the data keep the connection alive.
        if (text.includes('data: ')) seen.firstMs ??= performance.now() - begin
        seen.end = (seen.end + text).slice(-END_LENGTH)
      })
      response.on('error', reject)
      response.on('end', () => {
        const numTokens = Number(/"completion_tokens": (\d+)/.exec(seen.end)?.[1])
        resolve({ firstMs: seen.firstMs, numTokens })
      })
    })
    outgoing.on('error', reject)
    outgoing.setHeader('content-type', 'application/json')
    outgoing.end(JSON.stringify(body))
  })
}

async function freePort() {
  const server = createServer().listen(0, HOST)
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}
