// How much memory a model takes: its weights, and the KV of its requests, by the formulas of docs/memory.md. An estimate from
// `config.json`, for a model that need not be loaded.

import type { Config } from './storedmodels'
import type { Weights } from './weightfiles'

const BLOCK = 256
/** The share of the KV memory that stays free where the array of a sequence doubles: it is needed to move sequences. */
const SPARE_SHARE = 1 / 16
/** Families whose attention the fused attention of a CPU does not support. */
const COMPOSED = ['gemma2', 'gemma3_text', 'qwen3', 'qwen3_moe']
/** Families that a CPU computes as two operations if their attention is fused. */
const CHAINED = ['llama', 'mistral', 'qwen2']
/** The activations of such models. */
const CHAINED_ACTIVATIONS = ['silu', 'swish']

export type Device = 'gpu' | 'cpu'

/** The sizes of a model on which its memory depends. */
export interface ModelShape {
  readonly layers: number
  readonly kvHeads: number
  readonly headSize: number
  /** For each layer the most positions that it keeps. */
  readonly windows: readonly number[]
  readonly contextLength: number
  /** Whether a CPU computes its attention as one operation. */
  readonly isFused: boolean
  /** Numbers of the second copy of a tied embedding. A CPU needs it as the head of a model that it computes as two operations. */
  readonly secondHeadNumbers: number
  /** Whether the weights are float32. */
  readonly isFloat32: boolean
}

/** Reads the sizes of a model; `undefined` if the fields are not there. */
export function shapeOf(config: Config): ModelShape | undefined {
  const fields = numberOf(config, 'num_hidden_layers') === undefined ? (config.text_config as Config) : config
  if (fields === undefined || fields === null) return undefined
  const layers = numberOf(fields, 'num_hidden_layers')
  const heads = numberOf(fields, 'num_attention_heads')
  const headSize =
    numberOf(fields, 'head_dim') ?? (numberOf(fields, 'hidden_size') ?? Number.NaN) / (heads ?? Number.NaN)
  const kvHeads = numberOf(fields, 'num_key_value_heads') ?? heads
  if (layers === undefined || kvHeads === undefined || !Number.isFinite(headSize)) return undefined
  const contextLength = numberOf(fields, 'max_position_embeddings') ?? 2048
  const window = Math.min(numberOf(fields, 'sliding_window') ?? contextLength, contextLength)
  const windows = Array.from({ length: layers }, (_, layer) => (slides(fields, layer) ? window : contextLength))
  const family = String(config.model_type)
  const isPlain = !COMPOSED.includes(family) && fields.rope_traditional !== true && headSize % 8 === 0
  const isFused = isPlain && windows.every(window => window === contextLength)
  const isChained =
    isFused && CHAINED.includes(family) && CHAINED_ACTIVATIONS.includes(String(fields.hidden_act ?? 'silu'))
  const isTied = (fields.tie_word_embeddings ?? config.tie_word_embeddings) !== false
  const dtype = fields.dtype ?? fields.torch_dtype ?? config.torch_dtype
  const embeddingNumbers = (numberOf(fields, 'vocab_size') ?? 0) * (numberOf(fields, 'hidden_size') ?? 0)
  return {
    ...{ layers, kvHeads, headSize, contextLength, windows, isFused },
    secondHeadNumbers: isChained && isTied ? embeddingNumbers : 0,
    isFloat32: dtype === 'float32',
  }
}

function numberOf(fields: Config, name: string): number | undefined {
  const value = fields[name]
  return typeof value === 'number' && value > 0 ? value : undefined
}

/** Whether a layer attends to a window of positions only, as its family says. */
function slides(fields: Config, layer: number): boolean {
  const kinds = fields.layer_types
  const isListed = Array.isArray(kinds) ? kinds[layer] === 'sliding_attention' : undefined
  const pattern = numberOf(fields, 'sliding_window_pattern') ?? numberOf(fields, '_sliding_window_pattern') ?? 6
  switch (fields.model_type) {
    case 'gemma2':
      return isListed ?? layer % 2 === 0
    case 'gemma3_text':
      return isListed ?? (layer + 1) % pattern !== 0
    case 'mistral':
      return isListed ?? numberOf(fields, 'sliding_window') !== undefined
    case 'qwen2':
    case 'qwen2_moe':
    case 'qwen3':
    case 'qwen3_moe':
      return fields.use_sliding_window === true && (isListed ?? layer >= (numberOf(fields, 'max_window_layers') ?? 28))
    default:
      return isListed ?? false
  }
}

/** A model on a device with a given memory. */
export class Footprint {
  readonly device: Device
  readonly memoryBytes: number
  /** Bytes of the weights on the device. */
  readonly weightBytes: number
  readonly #shape: ModelShape
  readonly #doubles: boolean

  constructor(shape: ModelShape, weights: Weights, { device, memoryBytes }: Pick<Footprint, 'device' | 'memoryBytes'>) {
    this.device = device
    this.memoryBytes = memoryBytes
    this.#shape = shape
    this.#doubles = device === 'gpu' || !shape.isFused
    this.weightBytes = device === 'gpu' ? weights.bytes : cpuBytes(weights, memoryBytes, shape.secondHeadNumbers)
  }

  /** Whether the weights may be loaded: an eighth of the memory stays free. */
  get admitsWeights(): boolean {
    return this.weightBytes <= this.memoryBytes - Math.floor(this.memoryBytes / 8)
  }

  /** Bytes for the KV of all requests. */
  get kvBytes(): number {
    return Math.max(Math.floor(this.memoryBytes / 4) * 3 - this.weightBytes, Math.floor(this.memoryBytes / 8))
  }

  /** Bytes of the KV of one more token, in all layers. */
  get tokenBytes(): number {
    return this.#shape.layers * this.#layerBytes
  }

  /** Bytes of the KV of a request with this many tokens of prompt and answer. Memory is given in blocks. */
  rowBytes(tokens: number): number {
    const blocks = Math.max(Math.ceil(tokens / BLOCK), 1)
    const positions = this.#doubles ? BLOCK * 2 ** Math.ceil(Math.log2(blocks)) : BLOCK * blocks
    const kept = this.#shape.windows.map(window =>
      window < this.#shape.contextLength ? Math.min(positions, window) : positions,
    )
    return kept.reduce((total, positions) => total + positions * this.#layerBytes, 0)
  }

  /** How many requests of this many tokens fit at the same time. */
  rows(tokens: number): number {
    const usable = this.#doubles ? this.kvBytes * (1 - SPARE_SHARE) : this.kvBytes
    return this.admitsWeights ? Math.floor(usable / this.rowBytes(tokens)) : 0
  }

  /** One key and one value for each KV head. */
  get #layerBytes(): number {
    const { kvHeads, headSize, isFloat32 } = this.#shape
    return 2 * kvHeads * headSize * (this.device === 'cpu' || isFloat32 ? 4 : 2)
  }
}

/** On a CPU weights are float32, and dequantized if that takes at most half of the memory. */
function cpuBytes({ parameters, packedFloat32Bytes }: Weights, memoryBytes: number, headNumbers: number): number {
  const dense = 4 * parameters
  return dense <= Math.floor(memoryBytes / 2) ? dense + 4 * headNumbers : packedFloat32Bytes
}
