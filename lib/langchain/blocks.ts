// Answers as content blocks, the form that LangChain has for the answers of all providers: the blocks of a message, and the
// events of a stream. An answer has its reasoning, its text and its calls, each in a block of its own.

import type { ChatModelStreamEvent, ContentBlockDelta, FinishReason } from '@langchain/core/language_models/event'
import type { AIMessage, AIMessageChunk, ContentBlock, UsageMetadata } from '@langchain/core/messages'
import type { ChatGenerationChunk } from '@langchain/core/outputs'
import { textOf } from './messages'

/** The provider in the metadata of answers. LangChain finds {@link blocksOf} under this name. */
export const PROVIDER = 'mlx'

type Block = ContentBlock.Reasoning | ContentBlock.Text | ContentBlock.Tools.ToolCall

/** LangChain's functions that make content blocks, by provider. Both of its builds share them. */
interface Translators {
  lc_block_translators_registry?: Map<string, { translateContent: BlocksOf; translateContentChunk: BlocksOf }>
}
type BlocksOf = (message: AIMessage | AIMessageChunk) => Block[]

/** Adds the reasoning to `contentBlocks` of answers. */
export function registerBlocks(): void {
  const { lc_block_translators_registry: registry } = globalThis as Translators
  registry?.set(PROVIDER, { translateContent: blocksOf, translateContentChunk: blocksOf })
}

// Reads `content`, because LangChain makes `message.text` of these blocks.
function blocksOf({ content, tool_calls: calls = [], additional_kwargs: more }: AIMessage | AIMessageChunk): Block[] {
  const text = textOf(content)
  const reasoning = more.reasoning_content
  return [
    ...(typeof reasoning === 'string' && reasoning !== '' ? [{ type: 'reasoning' as const, reasoning }] : []),
    ...(text !== '' ? [{ type: 'text' as const, text }] : []),
    ...calls.map(({ id, name, args }) => ({ type: 'tool_call' as const, ...(id !== undefined && { id }), name, args })),
  ]
}

const REASONS: Record<string, FinishReason> = { stop: 'stop', length: 'length', tool_calls: 'tool_use' }

/** The events of an answer. Its last chunk has the usage and the metadata. */
export async function* eventsOf(chunks: AsyncIterable<ChatGenerationChunk>): AsyncGenerator<ChatModelStreamEvent> {
  const blocks = new Blocks()
  let last: AIMessageChunk | undefined
  for await (const { message } of chunks) {
    const { id } = message
    if (last === undefined) yield { event: 'message-start', ...(id !== undefined && { id }) }
    last = message as AIMessageChunk
    for (const block of blocksOf(last)) yield* blocks.add(block)
  }
  yield* blocks.finish()
  const usage = last?.usage_metadata as UsageMetadata | undefined
  const responseMetadata: Record<string, unknown> = { ...last?.response_metadata }
  const reason = REASONS[String(responseMetadata.finish_reason)]
  yield { event: 'message-finish', responseMetadata, ...(reason && { reason }), ...(usage && { usage }) }
}

/** The blocks of one stream. A block ends where one of another type begins; a call is a whole block. */
class Blocks {
  #index = 0
  #open: Block | undefined;

  *add(block: Block): Generator<ChatModelStreamEvent> {
    const joined = this.#open && joinedOf(this.#open, block)
    if (joined === undefined) {
      yield* this.finish()
      yield { event: 'content-block-start', index: this.#index, content: startOf(block, this.#index) }
    }
    this.#open = joined ?? block
    yield { event: 'content-block-delta', index: this.#index, delta: deltaOf(block) }
  }

  *finish(): Generator<ChatModelStreamEvent> {
    if (this.#open === undefined) return
    yield { event: 'content-block-finish', index: this.#index, content: this.#open }
    this.#open = undefined
    this.#index++
  }
}

/** One block of both, if they are parts of one text or reasoning. */
function joinedOf(one: Block, next: Block): Block | undefined {
  if (one.type === 'text' && next.type === 'text') return { ...one, text: one.text + next.text }
  if (one.type === 'reasoning' && next.type === 'reasoning')
    return { ...one, reasoning: one.reasoning + next.reasoning }
  return undefined
}

function startOf(block: Block, index: number): ContentBlock {
  if (block.type === 'text') return { type: 'text', text: '' }
  if (block.type === 'reasoning') return { type: 'reasoning', reasoning: '' }
  const { id, name } = block
  return { type: 'tool_call_chunk', ...(id !== undefined && { id }), name, args: '', index }
}

function deltaOf(block: Block): ContentBlockDelta {
  if (block.type === 'text') return { type: 'text-delta', text: block.text }
  if (block.type === 'reasoning') return { type: 'reasoning-delta', reasoning: block.reasoning }
  return { type: 'tool-call-delta', args: JSON.stringify(block.args) }
}
