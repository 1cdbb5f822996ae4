// How many streams run at the same time, and what they ask.

/** Streams over HTTP and in the process. */
export const STREAMS = [1, 8, 64]
/** Streams of both servers. */
export const STREAMS_BESIDE = [8, 16]
export const MOST_STREAMS = 64

/** How many prompts each stream asks in a round, one after another: more of them where a round has few first tokens. */
const PROMPTS_OF_A_STREAM = { 1: 16, 8: 2 }

/** Prompts for so many streams, each with the number of its stream. */
export function forStreams(take, streams) {
  const prompts = take(streams * (PROMPTS_OF_A_STREAM[streams] ?? 1))
  return prompts.map((prompt, n) => ({ ...prompt, stream: n % streams }))
}

/** Calls `ask` with all prompts: those of a stream one after another, all streams at the same time. */
export async function askAll(prompts, ask) {
  const streams = grouped(prompts)
  const answers = []
  const begin = performance.now()
  await Promise.all(
    [...streams.values()].map(async own => {
      for (const prompt of own) answers.push(await ask(prompt))
    }),
  )
  return { totalMs: performance.now() - begin, answers }
}

function grouped(prompts) {
  const streams = new Map()
  for (const prompt of prompts) streams.set(prompt.stream, [...(streams.get(prompt.stream) ?? []), prompt])
  return streams
}
