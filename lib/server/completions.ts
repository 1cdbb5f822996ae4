// /v1/completions of OpenAI: texts are continued without a chat template.

import type { GenerateResult, PromptParams, TokenLogprob } from '../../index'
import type { SseEvent } from '../../server'
import { readBody } from './body'
import { reasonOf, usageOf } from './chat'
import { type Exchange, json, newId, nowSeconds } from './exchange'
import type { Fields } from './fields'
import type { Piece } from './pieces'
import { openAiProblem } from './problem'
import { type EventWriter, type Job, streamed, wholeAnswer } from './running'
import { ignoreService, readMaxTokens, readSampling } from './sampling'

/** The limit of OpenAI for requests that set none. */
const DEFAULT_MAX_TOKENS = 16
const MAX_PROMPTS = 128

interface CompletionRequest {
  readonly jobs: readonly Job[]
  readonly name: string
  readonly isStream: boolean
  readonly hasUsage: boolean
}

export async function completions(exchange: Exchange): Promise<Response> {
  const fields = await readBody(exchange.request, exchange.site.settings.maxBodyBytes)
  const { jobs, name, isStream, hasUsage } = readCompletionRequest(exchange, fields)
  const head = { id: newId('cmpl-'), object: 'text_completion', created: nowSeconds(), model: name }
  if (!isStream) return json({ ...head, ...completion(await allAnswers(exchange, jobs)) })
  return streamed(exchange, jobs[0], {
    writer: () => new CompletionWriter(head, hasUsage),
    failed: problem => [{ data: openAiProblem(problem, exchange.id) }],
  })
}

function readCompletionRequest(exchange: Exchange, fields: Fields): CompletionRequest {
  const { model, name } = exchange.model(fields.text('model'))
  const isStream = fields.flag('stream') ?? false
  const hasUsage = fields.object('stream_options')?.flag('include_usage') ?? false
  const prompts = readPrompts(fields)
  if (isStream && prompts.length > 1) fields.fail('stream', 'takes one prompt')
  fields.only('echo', [false])
  fields.only('suffix', [''])
  const rest = {
    ...readSampling(fields),
    maxTokens: readMaxTokens(fields, ['max_tokens']) ?? DEFAULT_MAX_TOKENS,
    logprobs: fields.integer('logprobs', [0, 20]),
  }
  fields.only('best_of', [1, rest.n])
  ignoreService(fields)
  exchange.warnOfUnread(fields)
  return { jobs: prompts.map(prompt => ({ model, params: { model, prompt, ...rest } })), name, isStream, hasUsage }
}

/** A text, a list of texts, a list of token ids, or a list of such lists. */
function readPrompts(fields: Fields): PromptParams['prompt'][] {
  const value = fields.need('prompt', fields.raw('prompt'))
  if (typeof value === 'string') return [value]
  const isTokens = (list: unknown): list is number[] => Array.isArray(list) && list.every(Number.isInteger)
  if (!Array.isArray(value) || value.length === 0) fields.fail('prompt', 'must be a text or an array that is not empty')
  if (isTokens(value)) return [{ tokens: value }]
  if (value.length > MAX_PROMPTS)
    fields.fail('prompt', `has ${value.length} prompts; at most ${MAX_PROMPTS} are allowed`)
  return value.map((prompt: unknown, index) => {
    if (typeof prompt === 'string') return prompt
    return isTokens(prompt) ? { tokens: prompt } : fields.fail(`prompt[${index}]`, 'must be a text or token ids')
  })
}

/** The answers to all prompts. When one fails, the work for the others ends. */
async function allAnswers(exchange: Exchange, jobs: readonly Job[]): Promise<GenerateResult[]> {
  try {
    return await Promise.all(jobs.map(job => wholeAnswer(exchange, job)))
  } catch (error) {
    exchange.left.abort()
    throw error
  }
}

function completion(results: readonly GenerateResult[]): object {
  const choices = results.flatMap(result => result.choices ?? [result])
  return { choices: choices.map(choiceOf), usage: sumOf(results.map(result => usageOf(result.choices ?? [result]))) }
}

function choiceOf({ text, logprobs, finishReason }: GenerateResult, index: number): object {
  return { index, text, logprobs: logprobs ? logprobsOf(logprobs, 0) : null, finish_reason: reasonOf(finishReason) }
}

/** The usage of several prompts. */
function sumOf(usages: readonly object[]): object {
  const add = (a: unknown, b: unknown): unknown => {
    if (typeof a === 'number') return a + (b as number)
    const entries = Object.entries(a as object)
    return Object.fromEntries(entries.map(([name, value]) => [name, add(value, (b as Record<string, unknown>)[name])]))
  }
  return usages.reduce((sum, usage) => add(sum, usage) as object)
}

class CompletionWriter implements EventWriter {
  readonly #head: object
  readonly #hasUsage: boolean
  /** The characters so far, by answer. */
  readonly #offsets = new Map<number, number>()

  constructor(head: object, hasUsage: boolean) {
    this.#head = head
    this.#hasUsage = hasUsage
  }

  *piece({ index, text, logprobs, finishReason }: Piece): Generator<SseEvent> {
    const offset = this.#offsets.get(index) ?? 0
    this.#offsets.set(index, offset + text.length)
    const reason = finishReason === undefined ? null : reasonOf(finishReason)
    yield this.#chunk([
      { index, text, logprobs: logprobs ? logprobsOf(logprobs, offset) : null, finish_reason: reason },
    ])
  }

  *end(result: GenerateResult): Generator<SseEvent> {
    if (this.#hasUsage) yield this.#chunk([], usageOf(result.choices ?? [result]))
    yield { data: '[DONE]' }
  }

  #chunk(choices: object[], usage: object | null = null): SseEvent {
    return { data: { ...this.#head, choices, ...(this.#hasUsage && { usage }) } }
  }
}

/** Log-probabilities as parallel lists. `offset` is where their text begins in the answer. */
function logprobsOf(logprobs: readonly TokenLogprob[], offset: number): object {
  const offsets: number[] = []
  let at = offset
  for (const { bytes, token } of logprobs) {
    offsets.push(at)
    if (bytes !== undefined) at += token.length
  }
  return {
    tokens: logprobs.map(({ token }) => token),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map(({ top }) => Object.fromEntries(top.map(({ token, logprob }) => [token, logprob]))),
    text_offset: offsets,
  }
}
