// Failures that a user can act on: one sentence, and what to do. Scripts end through `main`, which prints it without a stack.

/** An expected failure. Its message is complete without a stack. */
export class Failure extends Error {}

/** Runs a script to its end; a failure becomes a line on stderr and exit code 1. */
export async function main(script) {
  try {
    await script()
  } catch (error) {
    process.exitCode = 1
    console.error(error instanceof Failure ? `\n${error.message}` : error)
  }
}
