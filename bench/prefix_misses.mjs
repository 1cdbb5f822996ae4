// Measures what the prefix cache costs a request that finds no prefix: the processor time of the engine with the cache and
// without, on a device that takes no time. The difference is compared with the time of such a request on a simulated device.

import { tokens } from './prefix_workloads.mjs'
import { quartiles } from './statistics.mjs'

const ROUNDS = 15
const REQUESTS = 400
const AT_ONCE = 8
const PROMPT = 300
const ANSWER = 30
const DEVICE = 'm3-max/llama-3.2-3b-4bit'

/**
 * Quartiles of interleaved rounds: the processor time of a request that the cache adds, in microseconds and in percent of the
 * device's time for a request, and the processor time without the cache.
 */
export async function missCost(createEngine, sides) {
  const [micros, engineMicros] = [[], []]
  for (let round = 0; round < ROUNDS; round++) {
    const took = {}
    const order = round % 2 === 0 ? ['with', 'without'] : ['without', 'with']
    for (const side of order) took[side] = await cpuOf(createEngine, sides[side])
    micros.push(took.with - took.without)
    engineMicros.push(took.without)
  }
  const requestMs = await timeOf(createEngine, sides.without)
  const percent = quartiles(micros.map(added => (added / 1e3 / requestMs) * 100))
  return { micros: quartiles(micros), engineMicros: quartiles(engineMicros), requestMs, percent }
}

async function cpuOf(createEngine, cache) {
  const run = await runner(createEngine, 'instant', cache)
  await run(REQUESTS / 4)
  const before = process.cpuUsage()
  await run(REQUESTS)
  const { user, system } = process.cpuUsage(before)
  await run.close()
  return (user + system) / REQUESTS
}

/** Milliseconds of the device for each of the requests that run at once. */
async function timeOf(createEngine, cache) {
  const run = await runner(createEngine, DEVICE, cache)
  const begin = performance.now()
  await run(2 * AT_ONCE)
  const took = performance.now() - begin
  await run.close()
  return took / (2 * AT_ONCE)
}

async function runner(createEngine, simulated, cache) {
  const engine = await createEngine({ backend: { simulated }, cache })
  const model = await engine.loadModel()
  const one = () => {
    const prompt = { tokens: tokens(PROMPT) }
    return engine.generate({ model, prompt, maxTokens: ANSWER, temperature: 0, ignoreEos: true })
  }
  const run = async count => {
    for (let n = 0; n < count; n += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, one))
  }
  return Object.assign(run, { close: () => engine.shutdown() })
}
