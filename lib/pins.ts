// Pinned prompts: a request that reads a prompt into the prefix cache, and the handle that releases it. The addon holds the KV.
// The handle is not registered for garbage collection: a pinned prompt lasts until it is released.

import type { CachedPrompt } from '../index'
import { connect, expire, type Host, report, submit } from './generation'
import type { Hub } from './hub'
import { isAbsent, read, take } from './options'
import { readSignal, reasonOf } from './signals'

/** Reads a prompt and pins its KV. */
export async function cachePrompt(host: Host, params: unknown, options: unknown): Promise<CachedPrompt> {
  const forModel = read(params, 'params')
  const model = host.modelOf(take(forModel, 'model'))
  const forRun = read(options, 'options')
  const signal = readSignal(take(forRun, 'signal'))
  if (signal?.aborted) throw reasonOf(signal)
  if (isAbsent(forRun.id)) forRun.id = host.hub.nextName()
  const pin = host.hub.nextPin()
  const [answer] = submit(host, model, { params: forModel, options: forRun, scripted: undefined, pin })
  try {
    // The addon has checked the types of both.
    if (!isAbsent(forRun.onProgress)) report(answer, answer, forRun.onProgress as Parameters<typeof report>[2])
    if (!isAbsent(forRun.timeoutMs)) expire(answer, [answer], forRun.timeoutMs as number)
    if (signal !== undefined) connect(answer, signal, 'throw')
    const { usage } = await answer.promise()
    const tokens = usage.inputTokens
    const bytes = model.key === undefined ? 0 : host.hub.native.pinnedBytes(model.key, tokens)
    return new Pinned(host.hub, pin, tokens, bytes)
  } catch (error) {
    answer.abandon(error)
    // The prompt may have been pinned just before.
    host.hub.native.unpin(pin)
    throw error
  }
}

class Pinned implements CachedPrompt {
  readonly tokens: number
  readonly bytes: number
  #release: (() => void) | undefined

  constructor(hub: Hub, pin: number, tokens: number, bytes: number) {
    this.tokens = tokens
    this.bytes = bytes
    this.#release = () => hub.native.unpin(pin)
  }

  release(): void {
    this.#release?.()
    this.#release = undefined
  }

  [Symbol.dispose](): void {
    this.release()
  }
}
