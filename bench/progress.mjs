// The progress of a long benchmark on stderr: one changing line on a terminal, one line per stage in a log.

const begin = performance.now()

/** Prints the present stage and the time since the start. */
export function progress(what) {
  const line = `[${((performance.now() - begin) / 1000).toFixed(0).padStart(4)} s] ${what}`
  process.stderr.write(process.stderr.isTTY ? `\r\u001b[K${line}` : `${line}\n`)
}
