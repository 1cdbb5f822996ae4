// The API of Ollama: chat, texts, and the models with what is known of them. Streams are lines of JSON.

import type { GenerateResult, ModelHandle } from '../../index'
import type { SseEvent } from '../../server'
import { readBody } from './body'
import { type Exchange, json, knownModels } from './exchange'
import type { Fields } from './fields'
import { type OllamaRequest, readModel, readOllamaChat, readOllamaGenerate } from './ollamarequest'
import type { Call, Piece } from './pieces'
import { callsOf } from './pieces'
import { type EventWriter, LINES, streamed, wholeAnswer } from './running'

/** The version of Ollama whose API this is: clients compare it with what they need. */
const VERSION = '0.12.0'
/** When the models came to be, for clients: the API wants a time, and it must not change. */
const MODIFIED = new Date().toISOString()

/** What the two routes write of a part of an answer. */
type Shape = (part: { text: string; reasoning: string; calls: readonly Call[] }) => object

const chatShape: Shape = ({ text, reasoning, calls }) => ({
  message: {
    role: 'assistant',
    content: text,
    ...(reasoning !== '' && { thinking: reasoning }),
    ...(calls.length > 0 && { tool_calls: calls.map(toolCall) }),
  },
})

const generateShape: Shape = ({ text, reasoning }) => ({
  response: text,
  ...(reasoning !== '' && { thinking: reasoning }),
})

const toolCall = ({ name, arguments: text }: Call): object => ({ function: { name, arguments: JSON.parse(text) } })

export async function ollamaChat(exchange: Exchange): Promise<Response> {
  const fields = await bodyOf(exchange)
  if (fields.list('messages')?.length === 0) return loaded(exchange, fields, chatShape)
  return answer(exchange, readOllamaChat(exchange, fields), chatShape)
}

export async function ollamaGenerate(exchange: Exchange): Promise<Response> {
  const fields = await bodyOf(exchange)
  if ((fields.raw('prompt') ?? '') === '') return loaded(exchange, fields, generateShape)
  return answer(exchange, readOllamaGenerate(exchange, fields), generateShape)
}

/** A request without a prompt loads the model. */
async function loaded(exchange: Exchange, fields: Fields, shape: Shape): Promise<Response> {
  const { model, name } = readModel(exchange, fields)
  await exchange.load(model)
  return json({ ...headOf(name), ...shape({ text: '', reasoning: '', calls: [] }), done: true, done_reason: 'load' })
}

async function answer(exchange: Exchange, request: OllamaRequest, shape: Shape): Promise<Response> {
  const { job, name, isStream } = request
  if (isStream) {
    return streamed(
      exchange,
      job,
      { writer: () => new LineWriter(name, shape), failed: ({ message }) => [{ data: { error: message } }] },
      LINES,
    )
  }
  const result = await wholeAnswer(exchange, job)
  const { text, reasoning = '' } = result
  return json({ ...headOf(name), ...shape({ text, reasoning, calls: callsOf(result) }), ...endOf(result) })
}

class LineWriter implements EventWriter {
  readonly #name: string
  readonly #shape: Shape

  constructor(name: string, shape: Shape) {
    this.#name = name
    this.#shape = shape
  }

  *piece({ text, reasoning, calls }: Piece): Generator<SseEvent> {
    if (text === '' && reasoning === '' && calls.length === 0) return
    yield { data: { ...headOf(this.#name), ...this.#shape({ text, reasoning, calls }), done: false } }
  }

  *end(result: GenerateResult): Generator<SseEvent> {
    const nothing = this.#shape({ text: '', reasoning: '', calls: [] })
    yield { data: { ...headOf(this.#name), ...nothing, ...endOf(result) } }
  }
}

const headOf = (model: string): object => ({ model, created_at: new Date().toISOString() })

/** Durations are in nanoseconds. */
function endOf({ finishReason, usage, timings }: GenerateResult): object {
  const ns = (ms: number) => Math.round(ms * 1e6)
  return {
    done: true,
    done_reason: finishReason === 'length' ? 'length' : 'stop',
    total_duration: ns(timings.totalMs),
    load_duration: 0,
    prompt_eval_count: usage.inputTokens,
    prompt_eval_duration: ns(timings.prefillMs),
    eval_count: usage.outputTokens,
    eval_duration: ns(timings.decodeMs),
  }
}

export function ollamaVersion(): Response {
  return json({ version: VERSION })
}

export function ollamaTags({ site }: Exchange): Response {
  return json({ models: knownModels(site.engine).map(id => describe(id, site.engine.getModelInfo(id))) })
}

/** The models in memory. */
export function ollamaRunning({ site }: Exchange): Response {
  const inMemory = site.engine.listModels().filter(({ state }) => state === 'loaded' || state === 'draining')
  const models = inMemory.map(model => ({
    ...describe(model.id, model),
    size_vram: model.bytes,
    context_length: model.contextLength,
  }))
  return json({ models })
}

export async function ollamaShow(exchange: Exchange): Promise<Response> {
  const { model: id } = readModel(exchange, await bodyOf(exchange))
  const model = exchange.site.engine.getModelInfo(id)
  const { capabilities } = model ?? {}
  return json({
    modified_at: MODIFIED,
    details: detailsOf(model),
    model_info: model && {
      'general.architecture': model.family,
      [`${model.family}.context_length`]: model.contextLength,
    },
    capabilities: [
      'completion',
      ...(capabilities?.tools ? ['tools'] : []),
      ...(capabilities?.reasoning ? ['thinking'] : []),
    ],
  })
}

/** A model. What its files say is known from its first load on. */
const describe = (id: string, model: ModelHandle | undefined): object => ({
  name: id,
  model: id,
  modified_at: MODIFIED,
  size: model?.bytes ?? 0,
  digest: '',
  details: detailsOf(model),
})

const detailsOf = (model: ModelHandle | undefined): object => ({
  parent_model: '',
  format: 'safetensors',
  family: model?.family ?? '',
  families: model === undefined ? [] : [model.family],
  parameter_size: '',
  quantization_level: model?.quantization ? `Q${model.quantization.bits}` : (model?.computeType ?? ''),
})

const bodyOf = ({ request, site }: Exchange): Promise<Fields> => readBody(request, site.settings.maxBodyBytes)
