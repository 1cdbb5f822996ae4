// A load for the live page: chats that grow, requests that repeat, clients that leave, and bursts that exceed the queue.

import { setMaxListeners } from 'node:events'

const TOPICS = ['tigers', 'rivers', 'clouds', 'trains', 'bread', 'paint', 'stars', 'bees']
/** Long enough for the prefix cache. */
const SYSTEM = 'You answer questions about sums and the capitals of countries, in short sentences. '.repeat(6)
const NUM_CHATS = 8
const BURST = 60
const BURST_EVERY_MS = 700

/** Asks a server until the returned function is called. */
export function startLoad(url) {
  const end = new AbortController()
  // Each request listens until it ends.
  setMaxListeners(0, end.signal)
  const work = [...Array.from({ length: NUM_CHATS }, (_, n) => chats(n, url, end.signal)), bursts(url, end.signal)]
  return async () => {
    end.abort()
    await Promise.allSettled(work)
  }
}

async function chats(n, url, signal) {
  for (let round = 0; !signal.aborted; round++) {
    const question = `Tell me about ${TOPICS[(n + round) % TOPICS.length]}. What is ${n} + ${round % 7}?`
    const messages = [
      { role: 'system', content: SYSTEM },
      { role: 'user', content: question },
    ]
    const text = await ask(url, messages, signal, round % 5 === 4 ? 10 : undefined)
    messages.push({ role: 'assistant', content: text.slice(0, 200) || 'Yes.' }, { role: 'user', content: 'And 3 + 4?' })
    await ask(url, messages, signal)
  }
}

/** Many requests at once, many of them identical. The queue is too short for all of them. */
async function bursts(url, signal) {
  for (let round = 0; !signal.aborted; round++) {
    const question = n => [{ role: 'user', content: `Burst ${round}: what is ${n % 40} + 5?` }]
    await Promise.all(Array.from({ length: BURST }, (_, n) => ask(url, question(n), signal)))
    await new Promise(resolve => setTimeout(resolve, BURST_EVERY_MS))
  }
}

/** The text of an answer. The client leaves after `leavesAfterMs`, if that is given. */
async function ask(url, messages, signal, leavesAfterMs) {
  const leaving = leavesAfterMs === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(leavesAfterMs)])
  const body = { model: 'demo', messages, max_tokens: 120, stream: true, ignore_eos: leavesAfterMs !== undefined }
  try {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: leaving,
    })
    const text = await response.text()
    return [...text.matchAll(/"content":"([^"\\]*)"/g)].map(([, part]) => part).join('')
  } catch {
    return ''
  }
}
