// The ways in which a soak uses the engine. Each is a name, a weight, the endings that it may have, and a function that makes
// one call and returns its ending: a name, or the code of the error. An ending that is not listed is a violation.

import { refusals } from './refusals.mjs'

export const pause = ms => new Promise(resolve => setTimeout(resolve, ms))
const turn = () => new Promise(resolve => setImmediate(resolve))

/** Any request of a busy engine may end like this. */
export const ALWAYS = ['Overloaded']
/** Any request may end like this on a simulated device, of which some steps fail. */
export const BY_FAULTS = ['BackendError', 'InsufficientMemory']

const TOOLS = [
  {
    type: 'function',
    function: {
      name: 'add',
      parameters: {
        type: 'object',
        properties: {
          a: { type: 'integer', minimum: 0, maximum: 99 },
          b: { type: 'integer', minimum: 0, maximum: 99 },
        },
        required: ['a', 'b'],
        additionalProperties: false,
      },
    },
  },
]
const STRUCTURED = [
  {
    schema: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'], additionalProperties: false },
  },
  { regex: '[0-9]{2}' },
  { choices: ['yes', 'no'] },
]
const NUM_POPULAR = 40

/** What the answers of a simulated device are for `tool call` and `failing answer`; it makes its own text for all others. */
export function answers({ text, params }) {
  const { toolChoice } = params
  if (toolChoice === 'required') return { toolCalls: [{ name: 'add', arguments: { a: 12, b: 7 } }] }
  if (text.startsWith('Fail')) return { text: 'This answer fails on its way.', errorAfterTokens: 3 }
  return undefined
}

const sampled = ({ model, next }) => ({
  model,
  prompt: `Tell me ${next(1000)} things`,
  maxTokens: 1 + next(24),
  temperature: 1,
  seed: next(1_000_000),
})
/** An answer that goes on until it is ended, as far as the context allows. */
const endless = use => ({ ...sampled(use), maxTokens: 600, ignoreEos: true, cache: 'off' })
const chat = ({ model, next }, content = `What is ${next(100)} + ${next(100)}?`) => ({
  model,
  messages: [{ role: 'user', content }],
  maxTokens: 32,
})

function check(isTrue, what) {
  if (!isTrue) throw new Error(what)
}

/** The ending of an answer. */
const endOf = ({ finishReason }) => (finishReason === 'cancelled' ? 'cancelled' : 'completed')

async function awaited(use) {
  const { tokens, usage, finishReason } = await use.engine.generate(use.next(2) ? sampled(use) : chat(use))
  check(tokens.length === usage.outputTokens, `${tokens.length} tokens, and ${usage.outputTokens} in usage`)
  return endOf({ finishReason })
}

async function streamed(use) {
  const generation = use.engine.generate(sampled(use))
  let text = ''
  for await (const chunk of generation) text += chunk.text
  const result = await generation
  check(result.text === text, 'the chunks are not the text of the result')
  return endOf(result)
}

async function webStream(use) {
  const reader = use.engine.generate(sampled(use)).toReadableStream().getReader()
  const isLeft = use.next(3) === 0
  for (;;) {
    if ((await reader.read()).done) return 'completed'
    if (!isLeft) continue
    await reader.cancel()
    return 'left'
  }
}

async function generator(use) {
  let numTokens = 0
  for await (const item of use.engine.createGenerator(sampled(use))) {
    if (item.type === 'metadata') return endOf(item.result)
    if (++numTokens > 20) return 'left'
  }
  return 'completed'
}

async function left(use) {
  const most = use.next(6)
  let numChunks = 0
  for await (const _ of use.engine.generate(sampled(use))) if (numChunks++ >= most) return 'left'
  return 'completed'
}

/** Ends a generation while it is prepared, waits, reads its prompt, decodes, or after its end. */
async function atAnyStage({ next }, generation, end) {
  if (next(2)) {
    for (let turns = next(12); turns > 0; turns--) await turn()
  } else {
    await generation[Symbol.asyncIterator]().next()
  }
  end()
}

async function cancelled(use) {
  const generation = use.engine.generate(endless(use))
  await atAnyStage(use, generation, () => generation.cancel())
  return endOf(await generation)
}

async function aborted(use) {
  const controller = new AbortController()
  if (use.next(8) === 0) controller.abort()
  const onAbort = use.next(2) ? 'throw' : 'stop'
  const generation = use.engine.generate(endless(use), { signal: controller.signal, onAbort })
  await Promise.allSettled([atAnyStage(use, generation, () => controller.abort())])
  controller.abort()
  return endOf(await generation)
}

async function disposed(use) {
  const generation = use.engine.generate(endless(use))
  await Promise.allSettled([atAnyStage(use, generation, () => {})])
  await generation[Symbol.asyncDispose]()
  return endOf(await generation)
}

/** At least half of the requests have a timeout of 0, which passes before they start. */
async function deadline(use) {
  return endOf(await use.engine.generate(endless(use), { timeoutMs: use.next(2) * use.next(20) }))
}

/** A reader that stops, and comes back after its stream has failed. */
async function slowReader(use) {
  const reader = use.engine.generate(endless(use))[Symbol.asyncIterator]()
  await reader.next()
  await pause(use.parkTimeoutMs + 100)
  for (;;) if ((await reader.next()).done) return 'completed'
}

/** A reader that stops and never comes back. */
async function lostReader(use) {
  await use.engine.generate(endless(use))[Symbol.asyncIterator]().next()
  return 'unread'
}

async function unread(use) {
  use.engine.generate(sampled(use))
  return 'unread'
}

async function duplicates(use) {
  const params = {
    ...chat(use),
    messages: [{ role: 'user', content: `What is ${use.next(NUM_POPULAR)} + 1?` }],
    temperature: 0,
  }
  const same = Array.from({ length: 2 + use.next(4) }, () => use.engine.generate(params))
  const ends = await Promise.allSettled(same)
  const failed = ends.find(({ status }) => status === 'rejected')
  if (failed) throw failed.reason
  const got = ends.map(({ value: { text, served, finishReason } }) => ({ text, served, finishReason }))
  const isSame = got.every(({ text }) => text === got[0].text)
  check(isSame, `identical requests got different answers: ${isSame ? '' : JSON.stringify(got)}`)
  return 'completed'
}

async function severalAnswers(use) {
  const n = 2 + use.next(3)
  const { choices } = await use.engine.generate({ ...sampled(use), n, logprobs: 2 })
  check(choices.length === n, `${choices.length} answers in place of ${n}`)
  check(
    choices.every(one => one.logprobs.length === one.tokens.length),
    'tokens without log-probabilities',
  )
  return 'completed'
}

async function toolCall(use) {
  if (!use.model.capabilities.tools) return awaited(use)
  const params = { ...chat(use), tools: TOOLS, toolChoice: 'required', maxTokens: 96 }
  const { toolCalls, finishReason } = await use.engine.generate(params)
  if (finishReason === 'tool-calls') check(toolCalls[0].function.name === 'add', 'a call of another tool')
  return 'completed'
}

async function structured(use) {
  const form = STRUCTURED[use.next(STRUCTURED.length)]
  const { text, parsed, finishReason } = await use.engine.generate({ ...chat(use), structured: form })
  if (finishReason !== 'stop') return 'completed'
  const isValid = form.schema ? typeof parsed?.ok === 'boolean' : (form.choices?.includes(text) ?? /^\d\d$/.test(text))
  check(isValid, `${JSON.stringify(text)} does not match ${JSON.stringify(form)}`)
  return 'completed'
}

async function failingAnswer(use) {
  const { engine, model, next } = use
  return endOf(await engine.generate({ model, prompt: `Fail ${next(1000)}`, maxTokens: 40, cache: 'off' }))
}

async function failingCallback(use) {
  const onProgress = () => {
    throw Object.assign(new Error('the callback of a caller'), { code: 'OwnError' })
  }
  return endOf(await use.engine.generate({ ...sampled(use), cache: 'off' }, { onProgress }))
}

async function refused(use) {
  const [code, params, options] = refusals[use.next(refusals.length)]
  try {
    await use.engine.generate({ model: use.model, prompt: 'Hello', maxTokens: 2, ...params }, options)
  } catch (error) {
    if ([code, ...ALWAYS].includes(error.code)) return error.code
    throw error
  }
  throw new Error(`${JSON.stringify(params).slice(0, 80)} was accepted`)
}

async function text(use) {
  const { engine, model, next } = use
  const original = `What is ${next(100)} + ${next(100)}?`
  const tokens = await engine.tokenize({ model, text: original })
  const again = await engine.detokenize({ model, tokens })
  check(again.includes(original), `${JSON.stringify(original)} became ${JSON.stringify(again)}`)
  const { messages } = chat(use, original)
  check((await engine.applyChatTemplate({ model, messages })).includes(original), 'the message is not in the prompt')
  return 'completed'
}

const REFUSED = ['InvalidParams', 'ContextLengthExceeded', 'ModelNotLoaded', 'GuidanceError']

/** `isSimulated`: only on a simulated device. `isSlow`: the client makes other calls meanwhile. */
export const WAYS = [
  { name: 'awaited', weight: 24, run: awaited, endings: ['completed'] },
  { name: 'streamed', weight: 16, run: streamed, endings: ['completed'] },
  { name: 'web stream', weight: 4, run: webStream, endings: ['completed', 'left'] },
  { name: 'generator', weight: 4, run: generator, endings: ['completed', 'left'] },
  { name: 'left', weight: 6, run: left, endings: ['completed', 'left'] },
  { name: 'cancelled', weight: 6, run: cancelled, endings: ['completed', 'cancelled'] },
  { name: 'aborted', weight: 8, run: aborted, endings: ['completed', 'cancelled', 'AbortError'] },
  { name: 'disposed', weight: 3, run: disposed, endings: ['completed', 'Cancelled'] },
  { name: 'deadline', weight: 6, run: deadline, endings: ['completed', 'Timeout'] },
  // On a busy device its stream may not have been parked for long enough.
  { name: 'slow reader', weight: 1, run: slowReader, endings: ['completed', 'SlowConsumer'], isSlow: true },
  { name: 'lost reader', weight: 1, run: lostReader, endings: ['unread'] },
  { name: 'unread', weight: 2, run: unread, endings: ['unread'] },
  { name: 'duplicates', weight: 8, run: duplicates, endings: ['completed'] },
  { name: 'several answers', weight: 2, run: severalAnswers, endings: ['completed'] },
  { name: 'tool call', weight: 3, run: toolCall, endings: ['completed'] },
  { name: 'structured', weight: 3, run: structured, endings: ['completed'] },
  { name: 'failing answer', weight: 1, run: failingAnswer, endings: [], isSimulated: true },
  { name: 'failing callback', weight: 1, run: failingCallback, endings: ['OwnError'] },
  { name: 'refused', weight: 4, run: refused, endings: REFUSED },
  { name: 'text', weight: 2, run: text, endings: ['completed'] },
]
