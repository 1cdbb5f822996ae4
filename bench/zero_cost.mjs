// Measures the engine from JavaScript over a simulated device that takes no time. Prints one line of JSON: processor
// microseconds of the process (all threads) per request and per streamed token, and the delay of the event loop. Runs in its
// own process, so that no other work is counted.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import mlxServing from '../dist/index.js'
import { at } from '../tools/build/repository.mjs'

const TOKENIZER = at('tools', 'conformance', 'fixtures', 'walk-byte-level')
const PROMPT = 'one two three four five six seven eight'
const NUM_REQUESTS = 4000
const CONCURRENT = 16
const NUM_STREAMS = 64
const STREAM_TOKENS = 256
const NUM_ROUNDS = 8
const DELAY_RESOLUTION_MS = 1

const engine = await mlxServing.createEngine({
  backend: { simulated: 'instant' },
  scheduler: { batchSize: NUM_STREAMS, autoTune: { enabled: false } },
})
const model = await engine.loadModel(TOKENIZER)
const seeds = await longSeeds()

await requests(NUM_REQUESTS / 4)
const cpuMicrosPerRequest = (await cpuMicros(() => requests(NUM_REQUESTS))) / NUM_REQUESTS
await streams()
const streamed = await streamRounds()
console.log(JSON.stringify({ cpuMicrosPerRequest, ...streamed }))
await engine.dispose()

/** One-token answers, awaited. */
async function requests(count) {
  const ask = () => engine.generate({ model, prompt: PROMPT, temperature: 0, maxTokens: 1, cache: 'off' })
  const client = async () => {
    for (let done = 0; done < count / CONCURRENT; done++) await ask()
  }
  await Promise.all(Array.from({ length: CONCURRENT }, client))
}

async function streamRounds() {
  const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
  const begin = performance.now()
  delay.enable()
  const micros = await cpuMicros(async () => {
    for (let round = 0; round < NUM_ROUNDS; round++) await streams()
  })
  delay.disable()
  const numTokens = NUM_ROUNDS * NUM_STREAMS * STREAM_TOKENS
  return {
    cpuMicrosPerStreamedToken: micros / numTokens,
    tokensPerSecond: (1000 * numTokens) / (performance.now() - begin),
    eventLoopDelayP99Ms: Math.max(0, delay.percentile(99) / 1e6 - DELAY_RESOLUTION_MS),
  }
}

function streams() {
  return Promise.all(
    seeds.map(async seed => {
      let numTokens = 0
      for await (const { tokens } of engine.generate(streamParams(seed))) numTokens += tokens.length
      if (numTokens !== STREAM_TOKENS) throw new Error(`a stream of ${numTokens} tokens`)
    }),
  )
}

/** Seeds with long enough answers: a simulated model always ends the same seed at the same place. */
async function longSeeds() {
  const found = []
  for (let seed = 1; found.length < NUM_STREAMS; seed++) {
    const { tokens } = await engine.generate(streamParams(seed))
    if (tokens.length === STREAM_TOKENS) found.push(seed)
  }
  return found
}

function streamParams(seed) {
  return { model, prompt: PROMPT, temperature: 1, seed, maxTokens: STREAM_TOKENS, cache: 'off' }
}

async function cpuMicros(work) {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return user + system
}
