// The prompt of the AI SDK as messages of the engine. A prompt may come from an earlier conversation with another provider, so
// it may have parts that only that provider understands: those are left out with a warning. What the user wants to be read, such
// as an image, is an error instead.

import type {
  LanguageModelV4Message,
  LanguageModelV4Prompt,
  LanguageModelV4ToolResultOutput,
  LanguageModelV4ToolResultPart,
} from '@ai-sdk/provider'
import type { Message, TextPart, ToolCall } from '../../index'
import { unsupported } from './failures'
import type { Warnings } from './warnings'

type PartOf<R extends 'user' | 'assistant' | 'tool'> = Extract<LanguageModelV4Message, { role: R }>['content'][number]
type UserPart = PartOf<'user'>
type AssistantPart = PartOf<'assistant'>
type ToolPart = PartOf<'tool'>

/** The messages of a prompt. Throws for files. */
export function messagesOf(prompt: LanguageModelV4Prompt, warnings: Warnings): Message[] {
  return prompt.flatMap(message => {
    switch (message.role) {
      case 'system':
        return [{ role: 'system', content: message.content }]
      case 'user':
        return [{ role: 'user', content: userContent(message.content) }]
      case 'assistant':
        return assistantMessages(message.content, warnings)
      case 'tool':
        return message.content.flatMap(toolMessages)
      default:
        throw unsupported('role', `mlx-serving takes no messages of the role ${(message as { role: string }).role}`)
    }
  })
}

function userContent(parts: UserPart[]): string | TextPart[] {
  const texts = parts.map((part): TextPart => {
    if (part.type === 'text') return { type: 'text', text: part.text }
    if (part.data.type === 'text') return { type: 'text', text: part.data.text }
    throw fileError('a message of the user', part.mediaType)
  })
  return texts.length === 1 ? texts[0].text : texts
}

/** A turn of the assistant, and the results of tools that another provider ran within it. */
function assistantMessages(parts: AssistantPart[], warnings: Warnings): Message[] {
  const message = { role: 'assistant', content: '', reasoning: '', toolCalls: [] as ToolCall[] }
  const results: Message[] = []
  for (const part of parts) {
    switch (part.type) {
      case 'text':
        message.content += part.text
        break
      case 'reasoning':
        message.reasoning += part.text
        break
      case 'tool-call':
        message.toolCalls.push({
          id: part.toolCallId,
          type: 'function',
          function: { name: part.toolName, arguments: argumentsOf(part.input) },
        })
        break
      case 'tool-result':
        results.push(toolMessage(part))
        break
      case 'file':
        throw fileError('a message of the assistant', part.mediaType)
      default:
        warnings.unsupported(
          `part ${part.type}`,
          `a part of another provider (${part.type}) was left out of the prompt`,
        )
    }
  }
  const { content, reasoning, toolCalls } = message
  return [
    {
      role: 'assistant',
      content,
      ...(reasoning !== '' && { reasoning }),
      ...(toolCalls.length > 0 && { toolCalls }),
    },
    ...results,
  ]
}

/** The arguments of an earlier call. They are an object, except in a call that was malformed. */
function argumentsOf(input: unknown): object {
  return typeof input === 'object' && input !== null ? input : {}
}

/** A decision about an approval comes with the result of the call, or instead of it; only the result is for the model. */
function toolMessages(part: ToolPart): Message[] {
  return part.type === 'tool-result' ? [toolMessage(part)] : []
}

function toolMessage({ toolCallId, toolName, output }: LanguageModelV4ToolResultPart): Message {
  return { role: 'tool', name: toolName, toolCallId, content: resultOf(output) }
}

/** The text of a result, which the model reads. */
function resultOf(output: LanguageModelV4ToolResultOutput): string {
  switch (output.type) {
    case 'text':
    case 'error-text':
      return output.value
    case 'json':
    case 'error-json':
      return JSON.stringify(output.value)
    case 'execution-denied':
      return output.reason ?? 'The user denied the execution of this tool.'
    case 'content':
      return output.value
        .map(part => {
          if (part.type === 'text') return part.text
          if (part.type === 'file' && part.data.type === 'text') return part.data.text
          throw fileError('the result of a tool', part.type === 'file' ? part.mediaType : part.type)
        })
        .join('\n')
    default:
      throw unsupported('tool result', `mlx-serving takes no results of the type ${(output as { type: string }).type}`)
  }
}

function fileError(place: string, mediaType: string): Error {
  return unsupported('file parts', `mlx-serving takes text only, and ${place} has a part of the type ${mediaType}`)
}
