// `mlx-serving run`: one answer, streamed to stdout.

import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import type { WriteStream } from 'node:tty'
import type { GenerateParams, GenerateResult, Structured } from '../../index'
import { invalid } from '../errors'
import { wrongUsage } from './exits'
import { digits, duration } from './figures'
import { type AnswerOptions, inSession, questionOf, type Session, samplingOf } from './session'
import { forStdout, isWatched, note, paint, print, printable, printJson, printLine } from './terminal'
import { millisecondsOf } from './values'

export interface RunOptions extends AnswerOptions {
  readonly json?: boolean
  readonly raw?: boolean
  readonly stats?: boolean
  readonly schema?: string
  /** Seconds. */
  readonly timeout?: number
}

/** A word of the prompt that stands for the text on stdin. */
const STDIN = '-'

export async function run(words: readonly string[], options: RunOptions): Promise<void> {
  if (options.raw && options.system !== undefined) {
    throw wrongUsage('--raw and --system exclude each other', 'a plain text has no system message')
  }
  const prompt = await promptOf(words)
  const structured = options.schema === undefined ? undefined : await schemaIn(options.schema)
  await inSession(options, session => answer(session, prompt, { ...options, structured }))
}

/** The words of the command line, with the text on stdin where they have a `-`. Without words it is stdin alone. */
async function promptOf(words: readonly string[]): Promise<string> {
  const isPiped = words.length === 0 || words.includes(STDIN)
  if (!isPiped) return words.join(' ')
  if (process.stdin.isTTY === true && words.length === 0) {
    throw wrongUsage('there is no prompt', 'write it after the command, or send it to stdin')
  }
  const input = (await text(process.stdin)).trimEnd()
  if (words.length === 0) return input
  return words
    .map(word => (word === STDIN ? `\n${input}\n` : word))
    .join(' ')
    .trim()
}

async function schemaIn(file: string): Promise<Structured> {
  const content = await readFile(file, 'utf8').catch(error => {
    throw wrongUsage(`the schema cannot be read: ${(error as Error).message}`)
  })
  try {
    return { schema: JSON.parse(content) as object }
  } catch (cause) {
    throw invalid('schema', `must be a file with JSON: ${file}: ${(cause as Error).message}`, cause)
  }
}

async function answer(
  { engine, model, signal }: Session,
  prompt: string,
  options: RunOptions & { structured: Structured | undefined },
): Promise<void> {
  if (options.system !== undefined && !model.capabilities.chat) {
    throw wrongUsage('--system needs a model with a chat template', 'this model continues the prompt as plain text')
  }
  const asked = options.raw || !model.capabilities.chat ? { prompt } : questionOf(prompt, options)
  const params = { model, ...asked, ...samplingOf(options), structured: options.structured } as GenerateParams
  const timeoutMs = options.timeout === undefined ? undefined : millisecondsOf(options.timeout)
  const generation = engine.generate(params, { signal, timeoutMs })
  if (!options.json) await stream(generation)
  const result = await generation
  for (const warning of result.warnings ?? []) note(paint('yellow', printable(warning), process.stderr))
  if (options.json) await printJson({ model: model.id, ...fieldsOf(result) })
  // Not a note: the figures were asked for.
  if (options.stats) process.stderr.write(`${figuresOf(result, process.stderr)}\n`)
}

/** Writes the text to stdout. A person sees the reasoning as well. */
export async function stream(chunks: AsyncIterable<{ text: string; reasoning?: string }>): Promise<void> {
  let last = ''
  let isReasoning = false
  try {
    for await (const { text, reasoning } of chunks) {
      if (reasoning && isWatched()) {
        isReasoning = true
        process.stderr.write(paint('dim', printable(reasoning), process.stderr))
      }
      if (text === '') continue
      if (isReasoning) process.stderr.write('\n\n')
      isReasoning = false
      last = text
      await print(forStdout(text))
    }
  } finally {
    // An error starts on a line of its own, too.
    if (isReasoning) process.stderr.write('\n')
    if (last !== '' && !last.endsWith('\n')) await printLine()
  }
}

/** A result for programs. Typed arrays become lists. */
export function fieldsOf({ tokens, logprobs: _, ...result }: GenerateResult): object {
  return { ...result, tokens: [...tokens] }
}

/** One line with the figures of an answer, for this stream. */
export function figuresOf({ usage, timings, finishReason, served }: GenerateResult, stream: WriteStream): string {
  const { inputTokens, outputTokens } = usage
  const parts = [
    `${inputTokens} + ${outputTokens} tokens`,
    `first after ${duration(timings.ttftMs)}`,
    ...(timings.tokensPerSecond > 0 ? [`${digits(timings.tokensPerSecond)} tokens/s`] : []),
    `ended by ${finishReason}`,
    ...(served === 'computed' ? [] : [served]),
  ]
  return paint('dim', parts.join(', '), stream)
}
