// Asks a model several questions at the same time, shows the answers while they are written, then prints a table with times and
// rates. Arguments are the questions: `npm start -- "What is 12 + 7?"`. The model is the bundled one, or the folder after
// `--model`.

import { parseArgs } from 'node:util'
import { createEngine, MlxServingError } from 'mlx-serving'
import { openView, printTable } from './display.mjs'

const user = content => ({ role: 'user', content })
const assistant = content => ({ role: 'assistant', content })

const CONVERSATIONS = [
  [user('What is 12 + 7?')],
  [user('What is the capital of France?')],
  [user("Spell the word 'cat'.")],
  [user('Which is larger, 17 or 71?')],
  [user('What day comes after Monday?')],
  [user('What is 20 + 30?'), assistant('20 + 30 = 50.'), user('And minus 3?')],
]

/** A conversation as shown in the table: the user's messages. */
const asked = messages =>
  messages
    .filter(({ role }) => role === 'user')
    .map(({ content }) => content)
    .join(' → ')

async function ask(engine, model, messages, line) {
  const generation = engine.generate({ model, messages, temperature: 0 })
  for await (const chunk of generation) line.add(chunk.text)
  // The whole answer and its figures; nothing is generated again.
  const result = await generation
  line.end(result.text)
  return { question: asked(messages), ...result }
}

async function run(folder, conversations) {
  const engine = await createEngine()
  try {
    const model = await engine.loadModel(folder)
    const view = openView(conversations.map(asked))
    // All are asked before any is answered: the engine decodes them together, one batched step at a time.
    const answers = conversations.map((messages, row) => ask(engine, model, messages, view.line(row)))
    printTable(await Promise.all(answers))
  } finally {
    await engine.shutdown()
  }
}

const { values, positionals } = parseArgs({ options: { model: { type: 'string' } }, allowPositionals: true })
const own = positionals.map(question => [user(question)])
try {
  await run(values.model, own.length > 0 ? own : CONVERSATIONS)
} catch (error) {
  if (!(error instanceof MlxServingError)) throw error
  console.error(`${error.code}: ${error.message}`)
  process.exitCode = 1
}
