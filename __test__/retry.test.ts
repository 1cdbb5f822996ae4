// Failed steps of a device: requests without a token run again, and a device that keeps failing is left alone for a while.

import { BackendError, type SimulatedFault } from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, INSTANT, simulated, until } from './support.js'

const FAST = { initialDelayMs: 1, maxDelayMs: 100 }
const first = (count: number): SimulatedFault[] =>
  Array.from({ length: count }, (_, step) => ({ step, kind: 'collect' }))
const failing = (faults: SimulatedFault[], options = {}) =>
  simulated(INSTANT, { backend: { simulated: INSTANT, faults }, retry: FAST, ...options })

/** A timer may fire up to 1 ms early. */
const sleep = (ms: unknown) => new Promise(resolve => setTimeout(resolve, Number(ms) + 1))

/** Numbers from 0 to 1 that look random and are the same in every run. */
function* random(state = 1) {
  for (;;) {
    state = (state * 48_271) % 2_147_483_647
    yield state / 2_147_483_647
  }
}

test.each(['submit', 'collect', 'panic'] as const)(
  'a request whose first two steps fail at %s is answered by the third',
  async kind => {
    const { engine, model } = await failing([0, 1].map(step => ({ step, kind })))
    const healthy = await simulated()
    const params = { prompt: 'Hello', maxTokens: 20 }
    const { tokens } = await engine.generate({ model, ...params })
    expect(tokens).toEqual((await healthy.engine.generate({ model: healthy.model, ...params })).tokens)
    expect(engine.stats()).toMatchObject({ completed: 1, failed: 0, retries: 2, recoveries: 2 })
  },
)

test('a stream that waits for its next attempt begins once, and a joined request has the same answer', async () => {
  const { engine, model } = await failing(first(2), { cache: {} })
  const params = { model, prompt: 'Hello', maxTokens: 20 }
  const joined = engine.generate(params)
  let text = ''
  for await (const chunk of engine.generate(params)) text += chunk.text
  expect(text).toBe((await joined).text)
  expect(engine.stats()).toMatchObject({ completed: 2, retries: 2 })
})

test('a request fails with its last attempt', async () => {
  const { engine, model } = await failing(first(3))
  expect(await failure(engine.generate({ model, prompt: 'Hello' }))).toBeInstanceOf(BackendError)
  expect(engine.stats()).toMatchObject({ failed: 1, retries: 2, errors: { BackendError: 1 } })
  expect((await engine.generate({ model, prompt: 'Hello', maxTokens: 3 })).tokens.length).toBe(3)
})

test('a request that was aborted or has a deadline does not wait for its next attempt', async () => {
  const { engine, model } = await failing(first(2), { retry: { initialDelayMs: 5_000 } })
  const controller = new AbortController()
  const aborted = engine.generate({ model, prompt: 'a' }, { signal: controller.signal })
  await until(() => engine.stats().retries === 1)
  const late = engine.generate({ model, prompt: 'b' }, { timeoutMs: 20 })
  expect((await failure(late)).code).toBe('Timeout')
  controller.abort()
  expect((await failure(aborted)).name).toBe('AbortError')
  await engine.generate({ model, prompt: 'c', maxTokens: 3 })
  expect(engine.stats()).toMatchObject({ queued: 0, running: 0, completed: 1 })
})

test('a fifth of all steps fails, and more than 95 % of the requests succeed', async () => {
  const numbers = random()
  const faults = Array.from({ length: 2_000 }, (_, step) => ({ step, kind: 'collect' as const })).filter(
    () => (numbers.next().value ?? 1) < 0.2,
  )
  const ask = async (retry: object) => {
    const { engine, model } = await failing(faults, { retry })
    // One after another: each attempt is one step, so the same requests fail in every run.
    let numAnswered = 0
    for (let n = 0; n < 200; n++) {
      const answer = engine.generate({ model, prompt: `question ${n}`, maxTokens: 1 })
      numAnswered += await answer.then(
        () => 1,
        () => 0,
      )
    }
    return numAnswered / 200
  }
  expect(await ask(FAST)).toBeGreaterThan(0.95)
  expect(await ask({ enabled: false })).toBeLessThan(0.9)
})

test('the breaker of a device that keeps failing opens, half-opens and closes', async () => {
  const breaker = { circuitBreaker: { openMs: 800 } }
  const { engine, model } = await failing(first(16), breaker)
  const ask = () => engine.generate({ model, prompt: 'Hello', maxTokens: 3 })
  const circuit = () => engine.stats().models[0].circuit
  expect(circuit()).toBe('closed')
  for (let n = 0; n < 5; n++) expect((await failure(ask())).code).toBe('BackendError')
  expect(circuit()).toBe('open')
  const refused = await failure(ask())
  expect(refused).toBeInstanceOf(BackendError)
  expect(refused).toMatchObject({ code: 'CircuitOpen', message: expect.stringContaining('circuitBreaker.failures') })
  expect(Number.isInteger(refused.retryAfterMs)).toBe(true)
  expect(refused.retryAfterMs).toBeGreaterThan(0)
  expect(refused.retryAfterMs).toBeLessThanOrEqual(800)
  expect(engine.stats()).toMatchObject({ rejected: { circuit: 1 }, errors: { CircuitOpen: 1, BackendError: 5 } })
  await sleep(refused.retryAfterMs)
  // The next step fails, so the breaker opens again; the request waits, and its second attempt succeeds.
  const opened = ask()
  await until(() => engine.stats().circuitOpened === 2)
  expect((await failure(ask())).code).toBe('CircuitOpen')
  expect((await opened).tokens.length).toBe(3)
  expect(circuit()).toBe('closed')
  expect(engine.stats()).toMatchObject({ failed: 5, completed: 1, rejected: { circuit: 2 }, queued: 0, running: 0 })
})

test('with default settings the breaker closes again', { timeout: 30_000 }, async () => {
  const { engine, model } = await simulated(INSTANT, { backend: { simulated: INSTANT, faults: first(15) } })
  const ask = () => engine.generate({ model, prompt: 'Hello', maxTokens: 3 })
  for (let n = 0; n < 5; n++) expect((await failure(ask())).code).toBe('BackendError')
  const { code, retryAfterMs } = await failure(ask())
  expect(code).toBe('CircuitOpen')
  await sleep(retryAfterMs)
  expect((await ask()).tokens.length).toBe(3)
  expect(engine.stats().models[0].circuit).toBe('closed')
})

test('retries and the breaker can be disabled', async () => {
  const off = { enabled: false }
  const { engine, model } = await failing(first(20), { retry: off, circuitBreaker: off })
  const ask = () => engine.generate({ model, prompt: 'Hello', maxTokens: 3 })
  for (let n = 0; n < 20; n++) expect((await failure(ask())).code).toBe('BackendError')
  expect(engine.stats()).toMatchObject({ retries: 0, circuitOpened: 0, failed: 20 })
  expect((await ask()).tokens.length).toBe(3)
})
