// Reads the headers of weight files: names, types and shapes of tensors. No weight is read.

import { type FileHandle, open, stat } from 'node:fs/promises'
import path from 'node:path'
import { INDEX, isWeights } from '../download/repository'
import { errorOf } from '../errors'
import { filesIn, readJson } from './storedmodels'

const SINGLE = 'model.safetensors'
/** The limit of the safetensors format, in bytes. */
const MAX_HEADER = 100_000_000

export interface Tensor {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly bytes: number
}

/** The tensors of a model folder. */
export async function tensorsIn(folder: string): Promise<Tensor[]> {
  const files = await weightFilesIn(folder)
  const tensors = await Promise.all(files.map(file => tensorsOf(path.join(folder, file))))
  return tensors.flat()
}

/** The names of the weight files that are loaded. */
async function weightFilesIn(folder: string): Promise<string[]> {
  const names = (await filesIn(folder)).filter(isWeights)
  if (names.includes(SINGLE)) return [SINGLE]
  const { weight_map: map } = ((await readJson(path.join(folder, INDEX))) ?? {}) as { weight_map?: object }
  return map === undefined ? names : [...new Set(Object.values(map).map(String))].filter(name => names.includes(name))
}

async function tensorsOf(file: string): Promise<Tensor[]> {
  const handle = await open(file)
  try {
    const header = JSON.parse(await headerOf(handle, (await stat(file)).size)) as Record<string, unknown>
    return Object.entries(header).flatMap(([name, entry]) => (name === '__metadata__' ? [] : [tensorOf(name, entry)]))
  } catch (cause) {
    throw errorOf('ModelLoadError', `the header of ${file} cannot be read: ${(cause as Error).message}`, { cause })
  } finally {
    await handle.close()
  }
}

async function headerOf(handle: FileHandle, size: number): Promise<string> {
  const start = Buffer.alloc(8)
  await handle.read(start, 0, 8, 0)
  const length = Number(start.readBigUInt64LE())
  if (length > MAX_HEADER || length + 8 > size) throw new Error(`its length, ${length}, is beyond the file`)
  const header = Buffer.alloc(length)
  await handle.read(header, 0, length, 8)
  return header.toString('utf8')
}

function tensorOf(name: string, entry: unknown): Tensor {
  const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>
  const isShape = (value: unknown): value is number[] => Array.isArray(value) && value.every(Number.isSafeInteger)
  if (typeof dtype !== 'string' || !isShape(shape) || !isShape(offsets)) throw new Error(`${name} is malformed`)
  return { name, dtype, shape, bytes: (offsets[1] ?? 0) - (offsets[0] ?? 0) }
}

/** What the weights of a model amount to. */
export interface Weights {
  /** Bytes in the files. */
  readonly bytes: number
  /** Numbers of the model; those of quantized weights are counted as if they were not packed. */
  readonly parameters: number
  /** Bytes if quantized weights stay packed and all other tensors are float32. */
  readonly packedFloat32Bytes: number
}

/** Adds the tensors up. `groupOf` is the group size of a quantized layer. */
export function weightsOf(tensors: readonly Tensor[], groupOf: (layer: string) => number | undefined): Weights {
  const quantized = new Map(
    tensors.flatMap(({ name, shape }) => {
      const layer = name.endsWith('.scales') ? name.slice(0, -'.scales'.length) : undefined
      const group = layer === undefined ? undefined : groupOf(layer)
      return layer === undefined || group === undefined ? [] : [[layer, product(shape) * group] as const]
    }),
  )
  const parametersOf = ({ name, shape }: Tensor) => {
    const [, layer = '', part = ''] = /^(.*)\.(\w+)$/.exec(name) ?? []
    const packed = quantized.get(layer)
    if (packed === undefined) return product(shape)
    return part === 'weight' ? packed : part === 'scales' || part === 'biases' ? 0 : product(shape)
  }
  return {
    bytes: sum(tensors.map(tensor => tensor.bytes)),
    parameters: sum(tensors.map(parametersOf)),
    packedFloat32Bytes: sum(tensors.map(({ shape, dtype }) => product(shape) * (dtype === 'F64' ? 8 : 4))),
  }
}

/** The tensors by element type: how many, how many numbers, how many bytes. */
export function byType(
  tensors: readonly Tensor[],
): { dtype: string; tensors: number; numbers: number; bytes: number }[] {
  return [...new Set(tensors.map(({ dtype }) => dtype))].sort().map(dtype => {
    const same = tensors.filter(tensor => tensor.dtype === dtype)
    const numbers = sum(same.map(({ shape }) => product(shape)))
    return { dtype, tensors: same.length, numbers, bytes: sum(same.map(({ bytes }) => bytes)) }
  })
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
const product = (numbers: readonly number[]) => numbers.reduce((total, number) => total * number, 1)
