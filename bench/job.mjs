// A side in a process of its own: one job a line on its stdin, one result a line on its stdout, for as long as it is
// needed. Owns that protocol's JavaScript ends; bare_loop.rs and mlx_lm_side.py have the others.
//
// job: { prompts: [{ tokens, text }], numTokens }; result: { firstMs: [of a row], totalMs, answers: [[tokens of a row]] }

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Failure } from '../tools/build/failure.mjs'

/** Starts a side and waits until it has loaded its model. */
export async function startSide(program, args, env) {
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const answer = async () => {
    const { value, done } = await lines.next()
    if (done) throw new Failure(`${program} ${args.join(' ')} ended without a result.`)
    return JSON.parse(value)
  }
  await answer()
  return {
    pid: child.pid,
    run(job) {
      child.stdin.write(`${JSON.stringify(job)}\n`)
      return answer()
    },
    async close() {
      child.stdin.end()
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}

/** The other end: says that it is ready, then does jobs until there are no more. */
export async function serveJobs(run) {
  console.log('{}')
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await run(JSON.parse(line))))
  }
}
