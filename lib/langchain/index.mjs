// The export of mlx-serving/langchain for ES modules: the same class on LangChain's own ES modules.
import { BaseChatModel } from '@langchain/core/language_models/chat_models'
import * as structuredOutput from '@langchain/core/language_models/structured_output'
import { AIMessage, AIMessageChunk } from '@langchain/core/messages'
import { ChatGenerationChunk } from '@langchain/core/outputs'
import { convertToOpenAITool } from '@langchain/core/utils/function_calling'
import { toJsonSchema } from '@langchain/core/utils/json_schema'
import chatModel from './chatmodel.js'

export const ChatMlx = chatModel.chatModelOf({
  BaseChatModel,
  AIMessage,
  AIMessageChunk,
  ChatGenerationChunk,
  convertToOpenAITool,
  toJsonSchema,
  structuredOutput,
})
