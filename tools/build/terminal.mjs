// Output of the scripts: colour, and phases with their elapsed time. On a terminal a phase is one line with a running clock;
// in a log it is two plain lines, one at the beginning and one at the end.

const colourful = !process.env.NO_COLOR && (Boolean(process.env.FORCE_COLOR) || process.stdout.isTTY === true)
const style = code => text => (colourful ? `\u001b[${code}m${text}\u001b[0m` : String(text))

export const bold = style('1')
export const dim = style('2')
export const red = style('31')
export const green = style('32')
export const cyan = style('36')

/** Whether lines can be rewritten in place. */
export const isLive = process.stdout.isTTY === true && process.env.TERM !== 'dumb'

export const seconds = since => `${((performance.now() - since) / 1000).toFixed(1)} s`

/**
 * Runs one phase. `speaks`: the work writes to the terminal itself, as cargo does, so there is no running clock that would
 * overwrite its lines.
 */
export async function phase(title, work, { speaks = false } = {}) {
  const begin = performance.now()
  const clock = isLive && !speaks ? startClock(title, begin) : undefined
  if (!clock) console.log(`${cyan('»')} ${title}`)
  try {
    const result = await work()
    endLine(clock, `${green('√')} ${title} ${dim(seconds(begin))}`)
    return result
  } catch (error) {
    endLine(clock, `${red('×')} ${title} ${dim(seconds(begin))}`)
    throw error
  }
}

function startClock(title, begin) {
  const tick = () => process.stdout.write(`\r\u001b[K${cyan('»')} ${title} ${dim(seconds(begin))}`)
  tick()
  return setInterval(tick, 200)
}

function endLine(clock, line) {
  clearInterval(clock)
  process.stdout.write(`${clock ? '\r\u001b[K' : ''}${line}\n`)
}
