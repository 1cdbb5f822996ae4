// An hour of the soak: a fixed number of requests in random ways, from several clients at once. Most go to the resident engine
// and some to an engine that lives in this hour only. A second model is loaded and unloaded meanwhile, a burst exceeds the
// queue, and worker threads with engines of their own are ended.

import { comesToRest, imbalances, unreported } from './checks.mjs'
import { loadSecond, MAX_PENDING, openEngine, PARK_TIMEOUT_MS } from './engines.mjs'
import { ALWAYS, BY_FAULTS, pause } from './ways.mjs'
import { endWorkers } from './workers.mjs'

const NUM_CLIENTS = 24
/** One request in so many goes to the second model, and one to the engine of the hour. */
const [SECOND, LATER] = [8, 6]
/** How a request ends whose engine is shut down, or whose model is unloaded. */
const CLOSED = ['EngineClosed', 'ModelNotLoaded']
/** How a request may end during which the event loop stood still. */
const BY_STALLS = ['SlowConsumer']
const BURST = 2 * MAX_PENDING

/** Runs an hour. `soak` has the kind, the resident engine, the random numbers, and what is counted. */
export async function runHour(soak, hour, numRequests) {
  const later = await openEngine(soak.kind, hour)
  const state = { later, second: undefined, numLeft: numRequests, isClosing: false }
  const clients = Array.from({ length: NUM_CLIENTS }, () => client(soak, state))
  const beside = [reload(soak, state), burst(soak), endWorkers(soak, hour)]
  await Promise.all([...clients, ...beside])
  await endLater(soak, state, hour)
  soak.violated(await comesToRest(soak.resident.engine))
  soak.violated(imbalances(soak.resident.engine.stats(), soak.resident.completed))
  soak.resident.engine.cache.clear()
  await sameAnswer(soak)
}

async function client(soak, state) {
  const slow = []
  while (state.numLeft > 0) {
    state.numLeft--
    const way = soak.draw()
    const call = one(soak, way, targetOf(soak, state), state)
    if (way.isSlow) slow.push(call)
    else await call
  }
  await Promise.all(slow)
}

function targetOf({ resident, next }, { later, second }) {
  if (second && next(SECOND) === 0) return { owner: resident, model: second }
  const owner = next(LATER) === 0 ? later : resident
  return { owner, model: owner.model }
}

/** Makes one call, and counts its ending. */
async function one(soak, way, { owner, model }, state) {
  const use = { engine: owner.engine, model, next: soak.next, parkTimeoutMs: PARK_TIMEOUT_MS }
  let [ending, message] = [undefined, '']
  const begin = performance.now()
  soak.began(way.name)
  try {
    ending = await way.run(use)
    if (ending === 'completed' && way.name !== 'text') owner.completed++
  } catch (error) {
    ;[ending, message] = [error.code && typeof error.code === 'string' ? error.code : error.name, error.message]
  }
  soak.ended(way.name, ending)
  // A stall is noted by a timer, which may be late as well.
  if (BY_STALLS.includes(ending)) await pause(100)
  const isClosed = owner === state.later ? state.isClosing : model !== owner.model
  const allowed = [
    ...way.endings,
    ...ALWAYS,
    ...(soak.kind === 'mlx' ? [] : BY_FAULTS),
    ...(isClosed ? CLOSED : []),
    ...(soak.stalls.lastAt > begin ? BY_STALLS : []),
  ]
  if (!allowed.includes(ending)) soak.violated([`${way.name}: ended with ${ending} ${message}`])
}

/** Loads and unloads the second model while requests run. */
async function reload(soak, state) {
  const { engine } = soak.resident
  const { model, wrong } = await loadSecond(soak.resident, soak.next)
  soak.violated(wrong)
  state.second = model
  while (state.numLeft > soak.requestsPerHour / 3) await new Promise(resolve => setTimeout(resolve, 5))
  await engine.unloadModel(model)
  state.second = undefined
}

/** More requests at once than there are places. Refused callers come back after `retryAfterMs`. */
async function burst(soak) {
  const { engine, model } = soak.resident
  const ask = async n => {
    soak.began('burst')
    for (;;) {
      try {
        await engine.generate({ model, prompt: `Burst ${n}`, maxTokens: 4, cache: 'off' })
        soak.resident.completed++
        return soak.ended('burst', 'completed')
      } catch ({ code, retryAfterMs }) {
        if (code !== 'Overloaded') {
          if (!(soak.kind === 'simulated' && BY_FAULTS.includes(code))) soak.violated([`burst: ended with ${code}`])
          return soak.ended('burst', code)
        }
        await new Promise(resolve => setTimeout(resolve, retryAfterMs))
      }
    }
  }
  await Promise.all(Array.from({ length: BURST }, (_, n) => ask(n)))
}

/** Ends the engine of the hour, with requests running: in turns by a drain, at once, and both. */
async function endLater(soak, state, hour) {
  const { later } = state
  state.isClosing = true
  const running = Array.from({ length: 8 }, () => one(soak, soak.draw(), { owner: later, model: later.model }, state))
  const ends = [
    () => later.engine.shutdown(),
    () => later.engine.dispose(),
    () => Promise.all([later.engine.shutdown({ drainMs: 50 }), later.engine.dispose()]),
  ]
  await ends[hour % ends.length]()
  await Promise.all(running)
  soak.violated(imbalances(later.engine.stats(), later.completed))
  if (later.reports === undefined) return
  // The last events come with the ends of generations that are not awaited.
  await pause(10)
  soak.violated(unreported(later.reports))
}

/** The same greedy request has the same answer in every hour. */
async function sameAnswer(soak) {
  const { engine, model } = soak.resident
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const { text } = await engine.generate({
        model,
        prompt: 'What is 12 + 7?',
        maxTokens: 16,
        temperature: 0,
        cache: 'off',
      })
      soak.reference ??= text
      if (text !== soak.reference) soak.violated([`an answer changed: ${text} in place of ${soak.reference}`])
      return
    } catch (error) {
      if (!BY_FAULTS.includes(error.code)) throw error
    }
  }
}
