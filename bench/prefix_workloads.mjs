// The workloads of prefix.mjs. Each returns the times to the first token of all its requests. `ask(prompt)` resolves with
// { firstMs, tokens }. Token ids are random, so that no two beginnings are equal by accident.

/** Tokens at the end of a prompt that no other prompt has. */
const OWN = 20
const TURN = 100
const TURNS = 10
export const CHAT = `${TURNS} turns of a chat`
/** An agent's system prompt with the schemas of its tools. */
const SCHEMAS = 3_000
const AGENTS = 8
const STEPS = 6
/** What a tool returns. */
const RESULT = 150
const BRANCHES = 3
const DEPTH = 3

let seed = 1
const random = () => {
  seed = (seed * 48_271) % 2_147_483_647
  return seed
}
export const tokens = number => Array.from({ length: number }, () => 20 + (random() % 400))

/** All workloads for prompts that share `shared` tokens. `isAlone`: the side answers one request at a time. */
export function workloads({ shared, together, isAlone }) {
  const perLength = shared.flatMap(count => lengths(count, isAlone ? 0 : together))
  const chat = { what: CHAT, run: ask => chatOf(ask, tokens(TURN), TURNS, TURN) }
  return isAlone ? [...perLength, chat] : [...perLength, chat, agents, thoughts]
}

function lengths(shared, together) {
  let beginning = []
  const cold = {
    what: `${shared} tokens, cold`,
    run(ask) {
      beginning = tokens(shared)
      return all(ask, [[...beginning, ...tokens(OWN)]])
    },
  }
  const warm = { what: `${shared} tokens, warm`, run: ask => all(ask, [[...beginning, ...tokens(OWN)]]) }
  if (together === 0) return [cold, warm]
  const atOnce = {
    what: `${shared} tokens, at once`,
    run(ask) {
      const other = tokens(shared)
      return all(
        ask,
        Array.from({ length: together }, () => [...other, ...tokens(OWN)]),
      )
    },
  }
  return [cold, warm, atOnce]
}

/** Each prompt has all turns before it and their answers. */
async function chatOf(ask, beginning, turns, turn) {
  const times = []
  let prompt = beginning
  for (let n = 0; n < turns; n++) {
    const { firstMs, tokens: answer } = await ask(prompt)
    times.push(firstMs)
    prompt = [...prompt, ...answer, ...tokens(turn)]
  }
  return times
}

/** Agents with the same tools work in parallel, each on its own task: a call, the result of the tool, the next call. */
const agents = {
  what: `${AGENTS} agents, ${STEPS} steps each, schemas of ${SCHEMAS} tokens`,
  async run(ask) {
    const schemas = tokens(SCHEMAS)
    const work = Array.from({ length: AGENTS }, () => chatOf(ask, [...schemas, ...tokens(TURN)], STEPS, RESULT))
    return (await Promise.all(work)).flat()
  },
}

/** Each thought is followed by several others, all of a level at once. */
const thoughts = {
  what: `a tree of thoughts, ${BRANCHES} branches, ${DEPTH} levels`,
  async run(ask) {
    const times = []
    let level = [tokens(600)]
    for (let depth = 0; depth < DEPTH; depth++) {
      const prompts = level.flatMap(path => Array.from({ length: BRANCHES }, () => [...path, ...tokens(OWN)]))
      const answers = await Promise.all(prompts.map(ask))
      times.push(...answers.map(({ firstMs }) => firstMs))
      level = answers.map(({ tokens: answer }, at) => [...prompts[at], ...answer])
    }
    return times
  },
}

const all = async (ask, prompts) => (await Promise.all(prompts.map(ask))).map(({ firstMs }) => firstMs)
