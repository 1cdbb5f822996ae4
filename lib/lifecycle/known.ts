// One model that the engine knows: where it comes from, its handle, and whether it is loaded. It stays known while it is
// unloaded, so that a request can load it again. lib/models.ts finds it, lib/lifecycle/lifecycle.ts loads and unloads it.

import type { ModelCapabilities, ModelHandle, UnloadReason } from '../../index'
import type { Variant } from '../modeloptions'
import type { NativeModelInfo } from '../native'
import type { SharedLoad } from '../sharedload'

/** What a model is loaded from. Two loads of the same source are one model. */
export interface Source extends Variant {
  readonly folder: string
}

/** A model of a hub that is downloaded when it is first needed. */
export interface Remote {
  readonly name: string
  readonly revision: string | undefined
  readonly token: string | undefined
}

type State = ModelHandle['state']
type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** The handle of a model. Its fields follow the model. */
export class Model implements ModelHandle {
  readonly id: string
  declare readonly path: string
  declare readonly family: string
  declare readonly contextLength: number
  declare readonly vocabSize: number
  declare readonly quantization?: { readonly bits: number; readonly groupSize: number }
  declare readonly bytes: number
  declare readonly computeType: ModelHandle['computeType']
  declare readonly capabilities: ModelCapabilities
  declare readonly warnings: readonly string[]
  state: State = 'loaded'
  pinned = false
  lastUsedAt = 0
  loads = 0
  readonly unloads: Record<UnloadReason, number>

  constructor(id: string, unloads: Record<UnloadReason, number>) {
    this.id = id
    this.unloads = unloads
  }

  /** Takes over what a load has found. After a change of the folder a reload may find other values. */
  describe(info: NativeModelInfo): void {
    const own = this as Mutable<Model>
    own.path = info.path
    own.family = info.family
    own.contextLength = info.contextLength
    own.vocabSize = info.vocabSize
    if (info.quantization) own.quantization = info.quantization
    else delete own.quantization
    own.bytes = info.bytes
    own.computeType = info.computeType
    own.capabilities = capabilitiesOf(info)
    own.warnings = info.warnings
  }
}

export class Known {
  readonly id: string
  /** The folder; absent while it is to be downloaded. */
  source: Source | undefined
  readonly remote: Remote | undefined
  readonly variant: Variant
  /** Whether it stays known after `unloadModel`. */
  isRegistered = false
  /** Whether each load ends with a short request; absent: as the engine's option says. */
  warmup: boolean | undefined
  /** Removed by `unloadModel`: its handle and its id are not valid any more. */
  isForgotten = false
  isPinned = false
  /** Made by the first load. */
  handle: Model | undefined
  /** The addon's key while it is loaded. */
  key: number | undefined
  /** Bytes of its weights in the files, once loaded. */
  fileBytes = 0
  load: SharedLoad<Model> | undefined
  /** Ends the load under way. */
  cancelLoad: ((error?: unknown) => void) | undefined
  /** Settles once it is unloaded, while it is being unloaded. */
  unloading: Promise<void> | undefined
  /** Calls that use it or wait for it. */
  numUses = 0
  /** On the clock of `Date.now()`; 0 before the first use. */
  lastUsedAt = 0
  /** The same on a clock that is never set back. */
  idleSince = 0
  idleTimer: NodeJS.Timeout | undefined
  /** Loaded ahead of a request, which has not come so far. */
  isPrefetched = false
  /** Ends the wait of the load ahead. */
  stopPrefetch: (() => void) | undefined
  loads = 0
  readonly unloads: Record<UnloadReason, number> = noUnloads()

  constructor(id: string, variant: Variant, from: { folder: string } | Remote) {
    this.id = id
    this.variant = variant
    this.source = 'folder' in from ? { ...variant, folder: from.folder } : undefined
    this.remote = 'folder' in from ? undefined : from
  }

  /** Whether requests can be submitted to it at once. */
  get isResident(): boolean {
    return this.key !== undefined && this.unloading === undefined
  }

  get state(): State {
    if (this.unloading !== undefined) return 'draining'
    if (this.key !== undefined) return 'loaded'
    return this.load === undefined ? 'unloaded' : 'loading'
  }

  /** Bytes of its weights as far as they are known: after the first load. */
  get bytes(): number | undefined {
    return this.handle?.bytes
  }

  /** The model begins to be used. */
  use(): void {
    this.numUses++
    this.lastUsedAt = Date.now()
    this.isPrefetched = false
    if (this.handle !== undefined) this.handle.lastUsedAt = this.lastUsedAt
  }

  /** Writes the state to the handle. Follows every change. */
  show(): void {
    if (this.handle === undefined) return
    this.handle.state = this.state
    this.handle.pinned = this.isPinned
    this.handle.loads = this.loads
    this.handle.lastUsedAt = this.lastUsedAt
  }
}

export function noUnloads(): Record<UnloadReason, number> {
  return { unload: 0, idle: 0, evicted: 0, shutdown: 0 }
}

export function isSame(one: Source | undefined, other: Source): boolean {
  return one?.folder === other.folder && one.chatTemplate === other.chatTemplate && one.toolPrompt === other.toolPrompt
}

function capabilitiesOf({ capabilities, contextLength, computeType }: NativeModelInfo): ModelCapabilities {
  const { toolCallFormat, toolPrompt, ...rest } = capabilities
  return Object.freeze({
    ...rest,
    ...(toolCallFormat && { toolCallFormat }),
    ...(toolPrompt && { toolPrompt }),
    logprobs: true,
    contextLength,
    computeType,
  })
}
