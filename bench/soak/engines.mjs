// The engines of a soak: one that lives for the whole soak, and others that live for an hour each, with other options.

import mlxServing from '../../dist/index.js'
import { answers } from './ways.mjs'

/** Longer than the event loop stalls while engines and workers start. */
export const PARK_TIMEOUT_MS = 1_000
export const MAX_PENDING = 160

const KINDS = ['submit', 'collect', 'panic', 'memory', 'logits']
/** Steps between two failures of a simulated device, and how many failures each loaded model has. */
const FAULT_STEPS = 97
const NUM_FAULTS = 60
/** One failure in so many ends an engine thread. A thread that ends within a minute of the last one takes longer to replace. */
const THREAD_ENDS = 20

/** One in so many is a step that takes long. Where `stuckAfterMs` is less, its thread is replaced. */
const [STALLS, STALL_MS] = [20, 300]

function faultOf(number) {
  const step = 20 + number * FAULT_STEPS
  if (number % THREAD_ENDS === THREAD_ENDS - 1) return { step, kind: 'thread' }
  if (number % STALLS === STALLS / 2) return { step, kind: 'stall', ms: STALL_MS }
  return { step, kind: KINDS[number % KINDS.length] }
}

const off = { enabled: false }
const LATER_OPTIONS = [
  {},
  { preset: 'latency' },
  { preset: 'throughput' },
  { scheduler: { enabled: false } },
  { cache: { coalescing: off, dedup: off, promptCache: off } },
  { memory: { kvBytes: 4_000_000 } },
  { scheduler: { deterministic: true }, cache: { promptCache: { maxEntries: 50, ttlMs: 500 } } },
  { workers: { count: 3 } },
  { workers: { count: 2, routing: 'round-robin', sticky: false }, health: { stuckAfterMs: 100 } },
]

const backends = {
  simulated: () => ({
    simulated: 'instant',
    answers,
    onUnmatched: 'simulate',
    faults: Array.from({ length: NUM_FAULTS }, (_, number) => faultOf(number)),
  }),
  mlx: () => 'mlx',
}

/** An engine and its model. `hour`: the options of the engine that lives in this hour; without it, the resident engine. */
export async function openEngine(kind, hour) {
  const options = hour === undefined ? {} : LATER_OPTIONS[hour % LATER_OPTIONS.length]
  const engine = await mlxServing.createEngine({
    ...options,
    // A busy machine may take longer for a step of MLX.
    health: kind === 'simulated' ? options.health : undefined,
    backend: backends[kind](),
    scheduler: { maxPending: MAX_PENDING, ...options.scheduler },
    streaming: { bufferTokens: 8, parkTimeoutMs: PARK_TIMEOUT_MS },
  })
  // Without listeners events are not made. Half of the engines have some.
  const reports = hour !== undefined && hour % 2 === 1 ? reportsOf(engine) : undefined
  const model = await engine.loadModel({ id: 'main', toolPrompt: 'hermes' })
  return { engine, model, reports, completed: 0 }
}

/** What the events of an engine report: the generations that have not ended yet, its states, and what is wrong. */
function reportsOf(engine) {
  const reports = { open: new Set(), states: [], wrong: [] }
  engine.on('generation:started', ({ id }) => reports.open.add(id))
  engine.on('generation:completed', ({ id }) => {
    if (!reports.open.delete(id)) reports.wrong.push(`${id} has ended without a start, or twice`)
  })
  engine.on('runtime:status', ({ status }) => reports.states.push(status))
  return reports
}

/**
 * Loads a second model beside running requests, once in vain: the first load is aborted. Returns what went wrong. A model with
 * other options has memory of its own.
 */
export async function loadSecond({ engine }, next) {
  const second = { id: 'second' }
  const controller = new AbortController()
  const aborted = engine.loadModel({ ...second, signal: controller.signal }).then(
    () => 'loaded',
    error => error.name,
  )
  for (let turns = next(6); turns > 0; turns--) await new Promise(resolve => setImmediate(resolve))
  controller.abort()
  const ending = await aborted
  if (ending === 'loaded') await engine.unloadModel('second')
  const model = await engine.loadModel(second)
  return { model, wrong: ['loaded', 'AbortError'].includes(ending) ? [] : [`an aborted load ended with ${ending}`] }
}
