// The export of mlx-serving/langchain for CommonJS: a chat model of LangChain.js that runs in this process. langchain.d.ts has
// the types, lib/langchain/index.mjs is the same for ES modules.

import { BaseChatModel } from '@langchain/core/language_models/chat_models'
import * as structuredOutput from '@langchain/core/language_models/structured_output'
import { AIMessage, AIMessageChunk } from '@langchain/core/messages'
import { ChatGenerationChunk } from '@langchain/core/outputs'
import { convertToOpenAITool } from '@langchain/core/utils/function_calling'
import { toJsonSchema } from '@langchain/core/utils/json_schema'
import { chatModelOf } from './chatmodel'

export const ChatMlx = chatModelOf({
  BaseChatModel,
  AIMessage,
  AIMessageChunk,
  ChatGenerationChunk,
  convertToOpenAITool,
  toJsonSchema,
  structuredOutput,
})
