// The number of tokens of a prompt before it runs, for counts that clients ask for and for limits that fit the context.

import type { ChatTemplateParams, Engine, GenerateParams, ModelHandle } from '../../index'

/** The tokens of a chat. Variables are left out if its template does not read them. */
export async function chatTokens(
  engine: Engine,
  chat: ChatTemplateParams,
  optionalVariables: readonly string[] = [],
): Promise<number> {
  const text = await rendered(engine, chat, optionalVariables)
  return (await engine.tokenize({ model: chat.model, text })).length
}

async function rendered(engine: Engine, chat: ChatTemplateParams, optional: readonly string[]): Promise<string> {
  try {
    return await engine.applyChatTemplate(chat)
  } catch (error) {
    if (optional.length === 0) throw error
    const variables = Object.entries(chat.templateVariables ?? {}).filter(([name]) => !optional.includes(name))
    return engine.applyChatTemplate({ ...chat, templateVariables: Object.fromEntries(variables) })
  }
}

/** In most texts, a token has at least this many bytes on average. */
const BYTES_OF_A_TOKEN = 3

/**
 * The params with `maxTokens` cut to the room in the context. The prompt is counted only if it and `maxTokens` together may not
 * fit. The engine makes the final check: the cut only avoids a request that the engine would refuse.
 */
export async function withRoom(
  engine: Engine,
  params: GenerateParams,
  { contextLength }: ModelHandle,
  optionalVariables: readonly string[] | undefined,
): Promise<GenerateParams> {
  const { maxTokens = 0, messages } = params
  if (messages === undefined) return params
  const { model, tools, toolChoice, parallelToolCalls, continueFinalMessage, templateVariables } = params
  const bytes = Buffer.byteLength(JSON.stringify([messages, tools]))
  if (maxTokens + bytes / BYTES_OF_A_TOKEN <= contextLength) return params
  const chat = { model, messages, tools, toolChoice, parallelToolCalls, continueFinalMessage, templateVariables }
  // A chat that cannot be rendered or counted keeps its `maxTokens`, and the engine refuses it.
  const numTokens = await chatTokens(engine, chat, optionalVariables).catch(() => contextLength)
  const room = contextLength - numTokens
  return room > 0 && room < maxTokens ? { ...params, maxTokens: room } : params
}
