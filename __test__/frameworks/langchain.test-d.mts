// The types of mlx-serving/langchain as an ES module sees them: the chat model is one of LangChain's own ES modules.

import type { BaseChatModel } from '@langchain/core/language_models/chat_models'
import type { AIMessageChunk } from '@langchain/core/messages'
import { ChatPromptTemplate } from '@langchain/core/prompts'
import { ChatMlx, type ChatMlxCallOptions } from 'mlx-serving/langchain'
import { z } from 'zod'

export const chat: BaseChatModel<ChatMlxCallOptions, AIMessageChunk> = new ChatMlx({ temperature: 0.5, maxRetries: 2 })

export async function uses(): Promise<number> {
  const model = new ChatMlx({ model: { path: '/models/one', toolPrompt: 'hermes' } })
  const answer = await ChatPromptTemplate.fromTemplate('{question}').pipe(model).invoke({ question: 'Hi' })
  const bound = model.bindTools([], { tool_choice: 'any', seed: 1 })
  for await (const chunk of await bound.stream(answer.text)) if (chunk.tool_call_chunks?.length) break
  // @ts-expect-error LangChain has an option of this name
  await model.invoke('Hi', { cache: 'off' })
  // @ts-expect-error unknown option
  new ChatMlx({ temprature: 1 })
  return (await model.withStructuredOutput(z.object({ sum: z.number() })).invoke('What is 1 + 1?')).sum
}
