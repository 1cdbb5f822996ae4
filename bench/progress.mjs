// What a long bench is at, on stderr: one line that changes on a terminal, a line each in a log.

const begin = performance.now()

/** Says what is done now, and how long the bench has been running. */
export function progress(what) {
  const line = `[${((performance.now() - begin) / 1000).toFixed(0).padStart(4)} s] ${what}`
  process.stderr.write(process.stderr.isTTY ? `\r\u001b[K${line}` : `${line}\n`)
}
