// Messages of LangChain as messages of the engine.

import type { AIMessage, BaseMessage, MessageContent, ToolMessage } from '@langchain/core/messages'
import type { Message, TextPart } from '../../index'
import { invalid } from '../errors'

/** The role of each type of message. A `generic` message has its own. */
const ROLES: Record<string, string> = {
  human: 'user',
  ai: 'assistant',
  system: 'system',
  developer: 'system',
  tool: 'tool',
}

/** The messages of a request. Throws for images and files, except in answers: their text, reasoning and calls are read. */
export function messagesOf(messages: BaseMessage[]): Message[] {
  return messages.map((message, at) => messageOf(message, `messages.${at}`))
}

/** The text of a content, without the parts that have none. */
export function textOf(content: MessageContent): string {
  if (typeof content === 'string') return content
  return content.map(block => (block.type === 'text' ? String(block.text) : '')).join('')
}

function messageOf(message: BaseMessage, place: string): Message {
  const role = ROLES[message.type] ?? (message as { role?: string }).role
  if (role === undefined) throw invalid(place, `is of the type ${message.type}, which a model has no role for`)
  const { content, reasoning } = contentOf(message, place)
  switch (message.type) {
    case 'ai': {
      const { tool_calls: calls = [], additional_kwargs: more } = message as AIMessage
      const toolCalls = calls.map(({ id, name, args }) => ({
        ...(id !== undefined && { id }),
        type: 'function' as const,
        function: { name, arguments: args },
      }))
      const said = more.reasoning_content
      return {
        role,
        content,
        ...(typeof said === 'string' && said !== '' ? { reasoning: said } : reasoning !== '' && { reasoning }),
        ...(toolCalls.length > 0 && { toolCalls }),
      }
    }
    case 'tool': {
      const { tool_call_id: toolCallId, name } = message as ToolMessage
      return { role, content, toolCallId, ...(name && { name }) }
    }
    default:
      return { role, content, ...(message.name && { name: message.name }) }
  }
}

/** The text of a message, in parts if it has them, and the reasoning among its parts. */
function contentOf({ content, type }: BaseMessage, place: string): { content: string | TextPart[]; reasoning: string } {
  if (typeof content === 'string') return { content, reasoning: '' }
  const texts: TextPart[] = []
  let reasoning = ''
  for (const block of content) {
    if (block.type === 'text') texts.push({ type: 'text', text: String(block.text) })
    else if (block.type === 'reasoning') reasoning += String(block.reasoning ?? '')
    else if (block.type === 'thinking') reasoning += String(block.thinking ?? '')
    // Calls among the blocks are in `tool_calls` as well. The other blocks of an answer mean something to its own provider only.
    else if (type !== 'ai' && !/tool/.test(block.type))
      throw invalid(place, `has a part of the type ${block.type}; models take text only`)
  }
  // Parts are for templates that know them in messages of the user; an answer and a result are one text.
  return { content: type === 'human' ? texts : texts.map(({ text }) => text).join(''), reasoning }
}
