// The workloads. Each gets `ask`, which sends one request and resolves with its outcome, and starts requests as its users would.
// The requests of a round are the same on both sides, and no round repeats those of another.

import { setTimeout as pause } from 'node:timers/promises'
import { generator } from '../prompts.mjs'

const PROMPT_TOKENS = 32
const ANSWER_TOKENS = 50
/** Token ids of the bundled model that are ordinary text. */
const [FIRST_TOKEN, NUM_TOKENS] = [5, 200]

/** A prompt of its own for each seed. */
export function prompt(seed, length = PROMPT_TOKENS) {
  const random = generator(seed)
  return { tokens: Array.from({ length }, () => FIRST_TOKEN + random(NUM_TOKENS)) }
}

const question = seed => ({ prompt: prompt(seed), maxTokens: ANSWER_TOKENS })

/** The documents' 50 questions of 50 tokens. They are asked one after another. */
export const questions = round => Array.from({ length: 50 }, (_, n) => question(seedOf(round, n)))

/** Seeds of different rounds differ. */
const seedOf = (round, n) => 10_000 * (round + 1) + n

/** Questions one after another, of several users. */
const users = (ask, lists) =>
  Promise.all(
    lists.map(async list => {
      for (const one of list) await ask(one)
    }),
  )

const lists = (numUsers, length, make) =>
  Array.from({ length: numUsers }, (_, user) => Array.from({ length }, (_, n) => make(user * length + n)))

/** 12 users, 48 requests, of which a third are different. */
async function duplicates(ask, round) {
  const random = generator(round + 1)
  await users(
    ask,
    lists(12, 4, () => question(seedOf(round, random(16)))),
  )
}

/** 8 users, 40 requests: short and long prompts and answers. Every fourth request repeats an earlier one. */
async function mixed(ask, round) {
  const make = n => {
    const seed = seedOf(round, 500 + (n % 4 === 3 ? n - 3 : n))
    const shape = generator(seed)
    return { prompt: prompt(seed, 16 + shape(240)), maxTokens: 10 + shape(90) }
  }
  await users(ask, lists(8, 5, make))
}

/** One question of each of 100 users, all at the same moment. */
async function crowd(ask, round) {
  await users(
    ask,
    lists(100, 1, n => question(seedOf(round, 1_000 + n))),
  )
}

const SPIKE_AFTER_MS = 2_000

/** Four users all the time; 60 more requests arrive at once. It ends when all of those are answered. */
async function spike(ask, round) {
  let isOver = false
  let numAsked = 0
  const steady = Array.from({ length: 4 }, async () => {
    while (!isOver) await ask(question(seedOf(round, 2_000 + numAsked++)), 'steady')
  })
  await pause(SPIKE_AFTER_MS)
  await Promise.all(Array.from({ length: 60 }, (_, n) => ask(question(seedOf(round, 3_000 + n)), 'spike')))
  isOver = true
  await Promise.all(steady)
}

/** By name; `least`: the goal for answers a second against the plain engine. */
export const LOADS = [
  { name: 'duplicates', what: '12 users, 48 requests, at most 16 different ones', least: 1.3, run: duplicates },
  {
    name: 'mixed',
    what: '8 users, 40 requests, prompts of 16 to 255 tokens, answers of 10 to 99',
    least: 1.15,
    run: mixed,
  },
  { name: '100 users', what: '100 users at the same moment', least: 1.5, run: crowd },
  { name: 'spike', what: '4 users; after 2 s 60 more requests at once', run: spike },
]
