// `npm run bench:answers`: measures what sharing answers gains when requests repeat, and what it costs when none repeats. The
// baseline is the same engine with all three lifetimes switched off. Both engines stay open and take turns. Progress goes to
// stderr, tables to stdout; the last line of stdout is one JSON object with all figures.

import { parseArgs } from 'node:util'
import { build } from '../tools/build/build.mjs'
import { main } from '../tools/build/failure.mjs'
import { bold } from '../tools/build/terminal.mjs'
import { atMost, goal } from './goals.mjs'
import { progress } from './progress.mjs'
import { generator } from './prompts.mjs'
import { printGoals, range, table } from './report.mjs'
import { runBench } from './sides.mjs'
import { quartiles } from './statistics.mjs'

const off = { enabled: false }
const UNSHARED = { coalescing: off, dedup: off, promptCache: off }
const BACKENDS = {
  simulated: { backend: { simulated: 'm3-max/llama-3.2-3b-4bit' }, scheduler: { maxPending: 4096 } },
  demo: { scheduler: { maxPending: 4096 } },
}
const FLAGS = { pairs: { type: 'string', default: '5' }, backends: { type: 'string', default: 'simulated,demo' } }
const NUM_USERS = 100
/** Enough requests of each user that first questions, which cannot be cached, are a small part of the load. */
const REQUESTS_OF_A_USER = 12
const NUM_PROMPTS = 200
const ZIPF = 1.1
const BURST = 1000
const MAX_TOKENS = 32

let numDistinct = 0

await main(async () => {
  const { values } = parseArgs({ args: process.argv.slice(2), options: FLAGS, strict: true })
  const [pairs, backends] = [Number(values.pairs), values.backends.split(',')]
  await build()
  const cells = []
  for (const backend of backends) cells.push(await measureBackend(backend, pairs))
  progress('hits from JavaScript')
  const hits = await measureHits()
  progress('keys')
  const key = await runBench('answer_key')
  console.log(`\n${bold('Shared against not shared')}: medians [quartiles] of ${pairs} pairs`)
  table(cells.map(row))
  const goals = [...cells.flatMap(goalsOf), ...overallGoals(hits, key)]
  printGoals(goals)
  console.log(JSON.stringify({ date: new Date().toISOString(), pairs, cells, hits, key, goals }))
})

async function measureBackend(backend, pairs) {
  const { createEngine } = (await import('../dist/index.js')).default
  const sides = {}
  for (const [side, cache] of Object.entries({ shared: {}, baseline: UNSHARED })) {
    const engine = await createEngine({ ...BACKENDS[backend], cache })
    sides[side] = { engine, model: await engine.loadModel() }
  }
  try {
    const heavy = await inTurns(sides, pairs, `${backend}: duplicates`, duplicates)
    const distinct = await inTurns(sides, 4 * pairs, `${backend}: all distinct`, allDistinct)
    const burst = []
    for (let round = 0; round < pairs; round++) burst.push(await identical(sides.shared))
    return {
      backend,
      duplicateHeavy: ratios(heavy),
      sharedPart: quartiles(heavy.map(({ shared }) => shared.sharedPart)),
      requestsPerSecond: quartiles(heavy.map(({ shared }) => 1000 / shared.msPerRequest)),
      baselineRequestsPerSecond: quartiles(heavy.map(({ baseline }) => 1000 / baseline.msPerRequest)),
      distinctOverhead: quartiles(ratios(distinct, one => one).map(ratio => 100 * (1 / ratio - 1))),
      burstRatio: quartiles(burst.map(({ ratio }) => ratio)),
      burstGenerations: Math.max(...burst.map(({ generations }) => generations)),
    }
  } finally {
    await Promise.all(Object.values(sides).map(({ engine }) => engine.dispose()))
  }
}

/** Both sides do the same work in turns, and the first side alternates. The first pair warms up. */
async function inTurns(sides, pairs, what, work) {
  const measured = []
  for (let round = 0; round <= pairs; round++) {
    progress(`${what}: round ${round}${round === 0 ? ', to warm up' : ''}`)
    const order = round % 2 === 0 ? ['shared', 'baseline'] : ['baseline', 'shared']
    const pair = {}
    for (const side of order) {
      sides[side].engine.cache.clear()
      pair[side] = await work(sides[side], round)
    }
    if (round > 0) measured.push(pair)
  }
  return measured
}

/** The speed-up of the sharing side, pair by pair. */
function ratios(pairs, of = quartiles) {
  return of(pairs.map(({ shared, baseline }) => baseline.msPerRequest / shared.msPerRequest))
}

/** Users with one request after another. Most users send a few popular requests (Zipf). */
async function duplicates({ engine, model }, round) {
  const random = generator(round + 1)
  const draw = zipf(random)
  const before = engine.stats().cache
  const users = Array.from({ length: NUM_USERS }, () => Array.from({ length: REQUESTS_OF_A_USER }, draw))
  const ms = await timed(() =>
    Promise.all(
      users.map(async questions => {
        for (const question of questions) await ask(engine, model, `Round ${round}, question ${question}?`)
      }),
    ),
  )
  const after = engine.stats().cache
  const numRequests = NUM_USERS * REQUESTS_OF_A_USER
  const sum = ({ coalescing, dedup, promptCache }) => coalescing.hits + dedup.hits + promptCache.hits
  return { msPerRequest: ms / numRequests, sharedPart: (sum(after) - sum(before)) / numRequests }
}

async function allDistinct({ engine, model }) {
  const numRequests = 64
  const prompts = Array.from({ length: numRequests }, () => `Number ${numDistinct++} is asked.`)
  const ms = await timed(() => Promise.all(prompts.map(prompt => ask(engine, model, prompt))))
  return { msPerRequest: ms / numRequests }
}

/** A burst of identical requests, compared with one request alone. */
async function identical({ engine, model }) {
  const prompt = 'What is asked most often?'
  engine.cache.clear()
  const alone = await timed(() => ask(engine, model, prompt))
  engine.cache.clear()
  const before = engine.stats()
  let results
  const all = await timed(async () => {
    results = await Promise.all(Array.from({ length: BURST }, () => ask(engine, model, prompt)))
  })
  const { tokens } = results[0]
  if (results.some(result => `${result.tokens}` !== `${tokens}`)) throw new Error('the answers differ')
  return { ratio: all / alone, generations: (engine.stats().generatedTokens - before.generatedTokens) / tokens.length }
}

/** On a device that takes no time: the latency of a cached answer, and the hit rates of the two later lifetimes. */
async function measureHits() {
  const { createEngine } = (await import('../dist/index.js')).default
  const engine = await createEngine({ backend: { simulated: 'instant' } })
  const model = await engine.loadModel()
  const times = []
  for (let i = 0; i < 6000; i++) times.push(1000 * (await timed(() => ask(engine, model, 'Once more.'))))
  const firsts = []
  for (let i = 0; i < 2000; i++) {
    firsts.push(
      await timed(async () => {
        for await (const _ of engine.generate({ model, prompt: 'Once more.', maxTokens: MAX_TOKENS })) break
      }),
    )
  }
  const dedup = await hitsOf(engine, 'dedup', async () => {
    const draw = zipf(generator(7))
    for (let i = 0; i < 1000; i++) await ask(engine, model, `A ${draw()}`)
  })
  engine.cache.configure({ dedup: off })
  const promptCache = await hitsOf(engine, 'promptCache', async () => {
    for (let round = 0; round < 10; round++) for (let i = 0; i < NUM_PROMPTS; i++) await ask(engine, model, `B ${i}`)
  })
  await engine.dispose()
  return { micros: quartiles(times.slice(1000)), firstChunkMs: quartiles(firsts), dedup, promptCache }
}

async function hitsOf(engine, layer, work) {
  engine.cache.clear()
  const before = engine.stats().cache[layer]
  await work()
  const { hits, misses } = engine.stats().cache[layer]
  return (hits - before.hits) / (hits + misses - before.hits - before.misses)
}

function ask(engine, model, prompt) {
  return engine.generate({ model, prompt, maxTokens: MAX_TOKENS, temperature: 0 })
}

async function timed(work) {
  const begin = performance.now()
  await work()
  return performance.now() - begin
}

/** Draws indexes from 0; the n-th has a weight of 1 / n^1.1. */
function zipf(random) {
  const weights = Array.from({ length: NUM_PROMPTS }, (_, place) => 1 / (place + 1) ** ZIPF)
  const total = weights.reduce((sum, weight) => sum + weight)
  return () => {
    let rest = (random(2 ** 31) / 2 ** 31) * total
    return Math.max(
      0,
      weights.findIndex(weight => {
        rest -= weight
        return rest < 0
      }),
    )
  }
}

function row(cell) {
  return {
    backend: cell.backend,
    'duplicates: requests/s': range(cell.requestsPerSecond),
    baseline: range(cell.baselineRequestsPerSecond),
    'times as fast': range(cell.duplicateHeavy),
    'not computed': `${(100 * cell.sharedPart[1]).toFixed(0)} %`,
    [`${BURST} identical / one`]: range(cell.burstRatio),
    'all distinct: overhead %': range(cell.distinctOverhead),
  }
}

function goalsOf({ backend, duplicateHeavy, burstRatio, burstGenerations, distinctOverhead }) {
  // The demo model answers faster than a thousand promises settle.
  const inTime = goal(`${BURST} identical at once: time of one alone`, '≤ 1.2', burstRatio, ratio => ratio <= 1.2)
  return [
    goal(`${backend}, duplicates: requests/s against baseline`, '≥ 5', duplicateHeavy, ratio => ratio >= 5),
    atMost(`${backend}, ${BURST} identical at once: generations`, 1, burstGenerations),
    ...(backend === 'simulated' ? [inTime] : []),
    goal(`${backend}, all distinct: overhead %`, '≤ 0.5', distinctOverhead, percent => percent <= 0.5),
  ]
}

function overallGoals({ micros, firstChunkMs, dedup, promptCache }, { promptTokens, lookMicros }) {
  return [
    goal('a cached answer, awaited, µs', '≤ 100', micros, one => one <= 100),
    goal('its first chunk, ms', '< 1', firstChunkMs, one => one < 1),
    goal(`key and look-up, ${promptTokens} tokens, µs`, '≤ 10', lookMicros, one => one <= 10),
    goal('repeated within a second: dedup hits', '> 0.5', [dedup, dedup, dedup], part => part > 0.5),
    goal('repeated later: prompt cache hits', '> 0.8', [promptCache, promptCache, promptCache], part => part > 0.8),
  ]
}
