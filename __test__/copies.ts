// Makes copies of the demo model before all tests, and removes them afterwards. They have the formats of published models:
// half precision, or 4 bits as mlx-lm quantizes. Tests open them with `ON_MLX` of support.ts.

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { TestProject } from 'vitest/node'

export const STORED = ['float16', 'bfloat16', '4-bit'] as const
export type Stored = (typeof STORED)[number]

declare module 'vitest' {
  export interface ProvidedContext {
    /** Where the copies of the demo model are. */
    copies: Record<Stored, string>
  }
}

const DEMO = path.join(__dirname, '..', 'models', 'demo')
/** Number of values that share a scale and a bias. */
const GROUP = 64
/** Number of 4-bit codes in a 32-bit word. */
const CODES = 8

interface Tensor {
  dtype: 'F32' | 'F16' | 'BF16' | 'U32'
  shape: number[]
  data: Uint8Array
}

export default function setup({ provide }: TestProject): () => void {
  const folder = mkdtempSync(path.join(tmpdir(), 'mlx-serving-copies-'))
  const demo = readTensors()
  const copies = STORED.map(stored => [stored, copy(demo, stored, path.join(folder, stored))])
  provide('copies', Object.fromEntries(copies))
  return () => rmSync(folder, { recursive: true })
}

function copy(demo: Map<string, [number[], Float32Array]>, stored: Stored, folder: string): string {
  mkdirSync(folder)
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json'])
    copyFileSync(path.join(DEMO, name), path.join(folder, name))
  const config = JSON.parse(readFileSync(path.join(DEMO, 'config.json'), 'utf8'))
  config.dtype = stored === 'float16' ? 'float16' : 'bfloat16'
  if (stored === '4-bit') {
    config.quantization = { group_size: GROUP, bits: 4, mode: 'affine' }
    config.quantization_config = config.quantization
  }
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config))
  const tensors: Record<string, Tensor> = {}
  for (const [name, [shape, values]] of demo) {
    if (stored === '4-bit' && shape.length === 2) Object.assign(tensors, quantized(name, shape, values))
    else tensors[name] = half(stored === 'float16' ? 'F16' : 'BF16', shape, values)
  }
  writeTensors(path.join(folder, 'model.safetensors'), tensors)
  return folder
}

/** Name to shape and values. */
function readTensors(): Map<string, [number[], Float32Array]> {
  const bytes = readFileSync(path.join(DEMO, 'model.safetensors'))
  const begin = 8 + Number(bytes.readBigUInt64LE())
  const header = JSON.parse(bytes.toString('utf8', 8, begin)) as Record<string, never>
  delete header.__metadata__
  const tensors = Object.entries(header) as [string, { shape: number[]; data_offsets: [number, number] }][]
  return new Map(
    tensors.map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        const data = Uint8Array.from(bytes.subarray(begin + from, begin + to))
        return [name, [shape, new Float32Array(data.buffer)]]
      },
    ),
  )
}

function writeTensors(file: string, tensors: Record<string, Tensor>): void {
  let offset = 0
  const places = Object.entries(tensors).map(([name, { dtype, shape, data }]) => {
    const from = offset
    offset += data.length
    return [name, { dtype, shape, data_offsets: [from, offset] }]
  })
  const header = Buffer.from(JSON.stringify({ __metadata__: { format: 'mlx' }, ...Object.fromEntries(places) }))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  writeFileSync(file, Buffer.concat([length, header, ...Object.values(tensors).map(({ data }) => data)]))
}

function half(dtype: 'F16' | 'BF16', shape: number[], values: ArrayLike<number>): Tensor {
  const rounded = Uint16Array.from(values, dtype === 'F16' ? toFloat16 : toBfloat16)
  return { dtype, shape, data: new Uint8Array(rounded.buffer) }
}

/**
 * MLX's affine quantization to 4 bits. Before the scale and the bias are rounded to bfloat16, a code stands exactly for the
 * group's value farthest from zero, and one for zero if zero is in the range. A word holds eight codes.
 */
function quantized(name: string, [rows, width]: number[], values: Float32Array): Record<string, Tensor> {
  const words = new Uint32Array(values.length / CODES)
  const scales: number[] = []
  const biases: number[] = []
  for (let from = 0; from < values.length; from += GROUP) {
    const group = values.subarray(from, from + GROUP)
    const [least, most] = [Math.min(...group), Math.max(...group)]
    const isBelow = Math.abs(least) > Math.abs(most)
    const edge = isBelow ? least : most
    let scale = (isBelow ? 1 : -1) * Math.max((most - least) / 15, 1e-7)
    const steps = Math.round(edge / scale)
    if (steps !== 0) scale = edge / steps
    const bias = steps === 0 ? 0 : edge
    scales.push(scale)
    biases.push(bias)
    group.forEach((value, at) => {
      const code = Math.min(Math.max(Math.round((value - bias) / scale), 0), 15)
      words[Math.floor((from + at) / CODES)] += code * 16 ** (at % CODES)
    })
  }
  const stem = name.replace(/\.weight$/, '')
  return {
    [name]: { dtype: 'U32', shape: [rows, width / CODES], data: new Uint8Array(words.buffer) },
    [`${stem}.scales`]: half('BF16', [rows, width / GROUP], scales),
    [`${stem}.biases`]: half('BF16', [rows, width / GROUP], biases),
  }
}

const single = new Float32Array(1)
const bits = new Uint32Array(single.buffer)

/** Rounds to the nearest, ties to even. */
function toBfloat16(value: number): number {
  single[0] = value
  return (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) >>> 16
}

/** Rounds to the nearest, ties to even. Weights are far below the largest float16. */
function toFloat16(value: number): number {
  single[0] = value
  const sign = (bits[0] >>> 16) & 0x8000
  const magnitude = bits[0] & 0x7fffffff
  // Subnormal float16 values are 2^-24 apart, and so are float32 values from 0.5 to 1: adding 0.5 rounds to that spacing.
  if (magnitude < 0x38800000) {
    single[0] = Math.abs(value) + 0.5
    return sign | (bits[0] - 0x3f000000)
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1)
  return sign | ((rounded >>> 13) - (112 << 10))
}
