// The parts of @langchain/core that are used. The package has one build for ES modules and one for CommonJS, with different
// classes, so each entry file of this folder passes the classes of its own build.

export interface Core {
  BaseChatModel: typeof import('@langchain/core/language_models/chat_models').BaseChatModel
  AIMessage: typeof import('@langchain/core/messages').AIMessage
  AIMessageChunk: typeof import('@langchain/core/messages').AIMessageChunk
  ChatGenerationChunk: typeof import('@langchain/core/outputs').ChatGenerationChunk
  convertToOpenAITool: typeof import('@langchain/core/utils/function_calling').convertToOpenAITool
  toJsonSchema: typeof import('@langchain/core/utils/json_schema').toJsonSchema
  structuredOutput: typeof import('@langchain/core/language_models/structured_output')
}
