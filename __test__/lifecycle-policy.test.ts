// Decisions about the lifecycle of models, with a clock that the test moves: which models are unloaded to make room,
// when a model is idle, and which model will probably be used next.

import { expect, test } from 'vitest'
import { type IdleClock, type Idler, IdleTimers } from '../lib/lifecycle/idle.js'
import { victims } from '../lib/lifecycle/room.js'
import { Transitions } from '../lib/lifecycle/transitions.js'

const candidate = (name: string, bytes: number, lastUsedAt: number) => ({ name, bytes, lastUsedAt })
const names = (chosen: { name: string }[] | undefined) => chosen?.map(({ name }) => name)

test('the least recently used models are unloaded, and no more than needed', () => {
  const models = [candidate('new', 10, 9), candidate('old', 10, 1), candidate('middle', 10, 5)]
  expect(names(victims(models, 0))).toEqual([])
  expect(names(victims(models, 1))).toEqual(['old'])
  expect(names(victims(models, 10))).toEqual(['old'])
  expect(names(victims(models, 11))).toEqual(['old', 'middle'])
  expect(names(victims(models, 30))).toEqual(['old', 'middle', 'new'])
  expect(models.map(({ name }) => name)).toEqual(['new', 'old', 'middle'])
})

test('no model is unloaded if all models together free too little memory', () => {
  expect(victims([candidate('a', 10, 1), candidate('b', 10, 2)], 21)).toBeUndefined()
  expect(victims([], 1)).toBeUndefined()
})

test('a model without weights is not unloaded for memory', () => {
  expect(names(victims([candidate('empty', 0, 1), candidate('full', 5, 2)], 5))).toEqual(['full'])
})

/** A clock that the test moves. Its timers are `setTimeout`s with a due time. */
class ManualClock implements IdleClock {
  time = 0
  numArmed = 0
  readonly timers = new Map<NodeJS.Timeout, { at: number; callback: () => void }>()

  now(): number {
    return this.time
  }

  setTimeout(callback: () => void, ms: number): NodeJS.Timeout {
    this.numArmed++
    const timer = { number: this.numArmed } as unknown as NodeJS.Timeout
    this.timers.set(timer, { at: this.time + ms, callback })
    return timer
  }

  clearTimeout(timer: NodeJS.Timeout | undefined): void {
    if (timer !== undefined) this.timers.delete(timer)
  }

  advance(ms: number): void {
    this.time += ms
    for (const [timer, { at, callback }] of [...this.timers]) {
      if (at > this.time) continue
      this.timers.delete(timer)
      callback()
    }
  }
}

function watched(afterMs: number) {
  const clock = new ManualClock()
  const idled: Idler[] = []
  const timers = new IdleTimers<Idler>(afterMs, model => idled.push(model), clock)
  const model = { numUses: 0, idleSince: 0, idleTimer: undefined as NodeJS.Timeout | undefined }
  return { clock, idled, timers, model }
}

test('a model is idle after the time since its last use', () => {
  const { clock, idled, timers, model } = watched(100)
  timers.watch(model)
  clock.advance(60)
  model.idleSince = clock.now()
  timers.watch(model)
  clock.advance(40)
  expect(idled).toEqual([])
  clock.advance(59)
  expect(idled).toEqual([])
  clock.advance(1)
  expect(idled).toEqual([model])
  expect(clock.timers.size).toBe(0)
})

test('many uses arm one timer', () => {
  const { clock, timers, model } = watched(100)
  for (let use = 0; use < 1_000; use++) {
    model.idleSince = clock.now()
    timers.watch(model)
  }
  expect(clock.numArmed).toBe(1)
})

test('a model that is used when its timer fires is watched again from the end of its use', () => {
  const { clock, idled, timers, model } = watched(100)
  timers.watch(model)
  model.numUses = 1
  clock.advance(500)
  expect([idled.length, clock.timers.size]).toEqual([0, 0])
  timers.watch(model)
  expect(clock.timers.size).toBe(0)
  model.numUses = 0
  model.idleSince = clock.now()
  timers.watch(model)
  clock.advance(100)
  expect(idled).toEqual([model])
})

test('a model that is no longer watched, or whose idle time is 0, never becomes idle', () => {
  const { clock, idled, timers, model } = watched(100)
  timers.watch(model)
  timers.unwatch(model)
  clock.advance(1_000)
  const never = watched(0)
  never.timers.watch(never.model)
  expect([idled.length, never.clock.numArmed]).toEqual([0, 0])
})

/** The models that follow, after uses in this order, with their confidence. */
function predicted(uses: string): Record<string, number> {
  const models = new Map([...new Set(uses)].map(name => [name, { name }]))
  const transitions = new Transitions<{ name: string }>()
  for (const name of uses) transitions.note(models.get(name) as { name: string })
  const predictions = transitions.next()
  const confidences = predictions.map(({ confidence }) => confidence)
  expect(confidences).toEqual([...confidences].sort((one, other) => other - one))
  return Object.fromEntries(predictions.map(({ model, confidence }) => [model.name, confidence]))
}

test('a model that always follows is predicted, after three changes', () => {
  expect(predicted('')).toEqual({})
  expect(predicted('ababa')).toEqual({})
  expect(predicted('abababa')).toEqual({ b: 1 })
})

test('repeated uses of one model are no changes', () => {
  expect(predicted('aaaaaaaa')).toEqual({})
  expect(predicted('aaabbbaabaab')).toEqual({})
  expect(predicted('aaabbbaabaabaa')).toEqual({ b: 1 })
})

test('the confidence is the share of the changes from the last model', () => {
  expect(predicted('abacabaca')).toEqual({ b: 0.5, c: 0.5 })
  expect(predicted('abababaca')).toEqual({ b: 0.75, c: 0.25 })
})

test('what follows the next model is predicted with both shares', () => {
  expect(predicted('abcabcabca')).toEqual({ b: 1, c: 1 })
})

test('recent changes count more than old ones', () => {
  const before = predicted(`${'ab'.repeat(300)}a`)
  const after = predicted(`${'ab'.repeat(300)}${'ac'.repeat(300)}a`)
  expect(before.b).toBe(1)
  expect(after.c).toBeGreaterThan(0.7)
})

test('a forgotten model is not predicted', () => {
  const [a, b] = [{ name: 'a' }, { name: 'b' }]
  const transitions = new Transitions<{ name: string }>()
  for (const model of [a, b, a, b, a, b, a]) transitions.note(model)
  expect(transitions.next()).toEqual([{ model: b, confidence: 1 }])
  transitions.forget(b, [a])
  expect(transitions.next()).toEqual([])
})
