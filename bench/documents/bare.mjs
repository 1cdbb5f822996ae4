// What the simulated device itself takes for a request that runs alone: the time of a bare loop, without any engine. The figures
// are those of the profile in src/executor/sim/profile.rs, in milliseconds.

const DECODE = 6.39
const PREFILL_FLOOR = 88.28
const PREFILL_PER_TOKEN = 0.67
/** Reading a position's keys and values; attention of a prompt token to a position. */
const PER_POSITION = 114_688 / 400 / 1e6
const PER_PAIR = (4 * 28 * 24 * 128) / 10_000 / 1e6

/** `{ firstMs, totalMs }` of a request with so many tokens. */
export function bareTimes(promptTokens, answerTokens) {
  const pairs = (promptTokens * (promptTokens + 1)) / 2
  const firstMs = DECODE + Math.max(PREFILL_FLOOR, PREFILL_PER_TOKEN * promptTokens) + pairs * PER_PAIR
  let totalMs = firstMs
  for (let n = 1; n < answerTokens; n++) totalMs += DECODE + (promptTokens + n) * PER_POSITION
  return { firstMs, totalMs }
}
