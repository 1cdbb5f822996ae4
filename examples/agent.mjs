// An agent: the model calls tools until it answers in words. The bundled model knows two, a calculator and a calendar. Prints
// each step. The argument is the question: `node examples/agent.mjs "How many days until 2027-01-01?"`.

import { createEngine } from 'mlx-serving'

const PRECEDENCE = { '+': 1, '-': 1, '*': 2, '/': 2, '%': 2 }
const APPLY = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
  '%': (a, b) => a % b,
}

function evaluate(tokens, least = 1) {
  let value = operand(tokens)
  while (PRECEDENCE[tokens[0]] >= least) {
    const sign = tokens.shift()
    value = APPLY[sign](value, evaluate(tokens, PRECEDENCE[sign] + 1))
  }
  return value
}

function operand(tokens) {
  const token = tokens.shift()
  if (token === '-') return -operand(tokens)
  if (token !== '(') return Number(token)
  const value = evaluate(tokens)
  tokens.shift()
  return value
}

function calculator({ expression }) {
  const value = evaluate(expression.match(/\d+(?:\.\d+)?|\S/g) ?? [])
  if (!Number.isFinite(value)) throw new Error('not a number')
  return String(Number(value.toFixed(4)))
}

const DAY_MS = 86_400_000
/** Midnight in UTC, so that all days are equally long. */
const dayOf = date => new Date(date === 'today' ? new Date().toISOString().slice(0, 10) : date)

function calendar({ date, until }) {
  const days = [date, until ?? date].map(dayOf)
  if (days.some(day => Number.isNaN(day.valueOf()))) throw new Error('not a date')
  if (until !== undefined) return JSON.stringify({ days: (days[1] - days[0]) / DAY_MS })
  const weekday = days[0].toLocaleDateString('en', { weekday: 'long', timeZone: 'UTC' })
  return JSON.stringify({ date: days[0].toISOString().slice(0, 10), weekday })
}

const TOOLS = [
  {
    type: 'function',
    function: {
      name: 'calculator',
      description: 'Works out an arithmetic expression.',
      parameters: {
        type: 'object',
        properties: { expression: { type: 'string', description: 'For example 12 * 34.' } },
        required: ['expression'],
      },
    },
  },
  {
    type: 'function',
    function: {
      name: 'calendar',
      description: 'The weekday of a date, or the number of days from one date to another.',
      parameters: {
        type: 'object',
        properties: {
          date: { type: 'string', description: 'The date, as 2026-12-24, or today.' },
          until: { type: 'string', description: 'The other date.' },
        },
        required: ['date'],
      },
    },
  },
]
const FUNCTIONS = { calculator, calendar }

/** What a tool returns for a call. The model also reads why a call failed. */
function resultOf({ name, arguments: args }) {
  try {
    return FUNCTIONS[name](args)
  } catch (error) {
    return `Error: ${error.message}`
  }
}

const MAX_STEPS = 4

async function answer(engine, model, question) {
  console.log(`user       ${question}`)
  const messages = [{ role: 'user', content: question }]
  for (let step = 0; step < MAX_STEPS; step++) {
    const { text, toolCalls = [] } = await engine.generate({ model, messages, tools: TOOLS, temperature: 0 })
    if (toolCalls.length === 0) return console.log(`assistant  ${text}`)
    messages.push({ role: 'assistant', content: text, toolCalls })
    for (const { id, function: called } of toolCalls) {
      const content = resultOf(called)
      console.log(`call       ${called.name} ${JSON.stringify(called.arguments)}\nresult     ${content}`)
      messages.push({ role: 'tool', name: called.name, content, toolCallId: id })
    }
  }
  console.log(`No answer after ${MAX_STEPS} steps.`)
}

const QUESTIONS = [
  'What is 123 * 45?',
  'What day of the week is 2026-12-24?',
  'What is 12 * 13, and what is 45 * 6?',
  'What is the capital of France?',
]

const engine = await createEngine()
try {
  const model = await engine.loadModel()
  for (const question of process.argv[2] === undefined ? QUESTIONS : [process.argv[2]])
    await answer(engine, model, question)
} finally {
  await engine.shutdown()
}
