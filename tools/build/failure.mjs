// What went wrong, for a person: a sentence and what to do. Scripts end through `main`, which prints it without a stack.

/** An expected failure: its message is all there is to say. */
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
