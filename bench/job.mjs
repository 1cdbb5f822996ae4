// The protocol of a side that runs as a separate process: one job per line on its stdin, one result per line on its stdout.
// This file has both ends in JavaScript; bare_loop.rs and mlx_lm_side.py have their own.
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

/** The end in the side's process: reports that it is ready, then runs jobs until stdin ends. */
export async function serveJobs(run) {
  console.log('{}')
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await run(JSON.parse(line))))
  }
}
