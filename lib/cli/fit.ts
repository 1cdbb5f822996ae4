// `mlx-serving fit`: whether a model fits a memory, and how many requests of which length. A model of the hub is not
// downloaded for that: its config.json and the list of its files are enough.

import { accessOf } from '../download/access'
import { isModelName, isWeights, type Listing, neededFiles } from '../download/repository'
import { type Client, getJson } from '../download/request'
import { list } from '../download/snapshot'
import { memoryBytes } from '../environment'
import { errorOf } from '../errors'
import { CommandError, NO_FIT, wrongUsage } from './exits'
import { bytes, count, pairs, parameters, table } from './figures'
import { type Device, Footprint, shapeOf } from './footprint'
import { interruptible } from './interrupts'
import { type Config, folderNamed, groupOf, kindOf, quantizationOf, readConfig } from './storedmodels'
import { printJson, printLine } from './terminal'
import { tensorsIn, type Weights, weightsOf } from './weightfiles'

/** Macs are sold with gibibytes. */
const GIBIBYTE = 2 ** 30
const FIRST_CONTEXT = 1024
const MAX_CONTEXT = 131_072
/** Bytes of a number of the types in `config.json`. */
const WIDTHS: ReadonlyMap<string, number> = new Map([
  ['float32', 4],
  ['float16', 2],
  ['bfloat16', 2],
])

export interface FitOptions {
  readonly revision?: string
  /** In GiB. */
  readonly memory?: number
  readonly device?: Device
  readonly rows?: number
  readonly context?: number
  readonly json?: boolean
}

/** What is known about a model without loading it. */
interface Known {
  readonly config: Config
  readonly weights: Weights
}

export async function fit(name: string | undefined, options: FitOptions): Promise<void> {
  const { config, weights } = await known(name, options.revision)
  const shape = shapeOf(config)
  if (shape === undefined) {
    throw errorOf(
      'UnsupportedModel',
      'its config.json does not name its layers and heads, so its KV cannot be estimated',
    )
  }
  const footprint = new Footprint(shape, weights, {
    device: options.device ?? (process.platform === 'darwin' ? 'gpu' : 'cpu'),
    memoryBytes: options.memory === undefined ? memoryBytes() : Math.floor(options.memory * GIBIBYTE),
  })
  const contexts = contextsUpTo(shape.contextLength)
  const wanted = {
    rows: options.rows ?? 1,
    context: options.context ?? Math.min(FIRST_CONTEXT, shape.contextLength),
  }
  const fits = wanted.context <= shape.contextLength && footprint.rows(wanted.context) >= wanted.rows
  const { device, weightBytes, tokenBytes, kvBytes, memoryBytes: memory } = footprint
  const rows = contexts.map(context => ({
    context,
    rowBytes: footprint.rowBytes(context),
    rows: footprint.rows(context),
  }))
  if (options.json) {
    const sizes = { memoryBytes: memory, weightBytes, parameters: weights.parameters, kvBytes, tokenBytes }
    await printJson({ model: name ?? 'demo', device, ...sizes, wanted, fits, contexts: rows })
  } else {
    const format = `${kindOf(config).format}, ${parameters(weights.parameters)} parameters`
    const lines: [string, string][] = [
      ['memory', `${bytes(memory)}, computed on a ${device.toUpperCase()}`],
      ['weights', `${bytes(weightBytes)} (${format})`],
      ['for KV', footprint.admitsWeights ? bytes(kvBytes) : 'none: the weights take more than seven eighths'],
      ['KV of a token', bytes(tokenBytes)],
    ]
    await printLine(`${pairs(lines)}\n`)
    await printLine(
      table(
        COLUMNS,
        rows.map(row => [count(row.context), bytes(row.rowBytes), count(row.rows)]),
      ),
    )
  }
  if (!fits) throw misfit(wanted, footprint, shape.contextLength)
}

function misfit(
  wanted: { rows: number; context: number },
  { weightBytes, memoryBytes: memory }: Footprint,
  contextLength: number,
): CommandError {
  const what = `${wanted.rows} ${wanted.rows === 1 ? 'request' : 'requests'} of ${count(wanted.context)} tokens`
  const [message, hint] =
    wanted.context > contextLength
      ? [
          `${what} exceed the context of the model, ${count(contextLength)} tokens`,
          'take a model with a longer context',
        ]
      : [
          `${what} and ${bytes(weightBytes)} of weights do not fit ${bytes(memory)}`,
          'take fewer bits, a smaller model or shorter contexts; docs/memory.md has the formulas',
        ]
  return new CommandError('DoesNotFit', message, { exit: NO_FIT, hint })
}

const COLUMNS = [
  { title: 'CONTEXT', align: 'right' },
  { title: 'KV OF A REQUEST', align: 'right' },
  { title: 'REQUESTS', align: 'right' },
] as const

/** Powers of two up to the context of the model, and that context. */
function contextsUpTo(contextLength: number): number[] {
  const contexts: number[] = []
  for (let context = FIRST_CONTEXT; context < Math.min(contextLength, MAX_CONTEXT); context *= 2) contexts.push(context)
  return [...contexts, Math.min(contextLength, MAX_CONTEXT)]
}

async function known(name: string | undefined, revision: string | undefined): Promise<Known> {
  if (revision !== undefined && (name === undefined || !isModelName(name))) {
    throw wrongUsage('--revision needs the name of a model of the hub')
  }
  const folder = revision === undefined ? await folderNamed(name) : undefined
  const tensors = folder === undefined ? [] : await tensorsIn(folder)
  if (folder !== undefined && tensors.length > 0) {
    const config = await readConfig(folder)
    return { config, weights: weightsOf(tensors, groupOf(config)) }
  }
  // The cache may have a part of a model only.
  if (name !== undefined && isModelName(name)) return interruptible(signal => onHub(name, revision ?? 'main', signal))
  throw errorOf('ModelNotFound', `${name} is neither a folder with a model nor the name of a model of the hub`)
}

async function onHub(name: string, revision: string, signal: AbortSignal): Promise<Known> {
  const client: Client = { access: accessOf(undefined), signal }
  if (client.access.isOffline) {
    throw errorOf('ModelNotFound', `${name} is not in the cache, and \`HF_HUB_OFFLINE\` forbids requests`)
  }
  const listing = await list(client, { name, revision })
  const url = new URL(`${client.access.endpoint}/${name}/resolve/${listing.commit}/config.json`)
  const config = ((await getJson(client, url, `config.json of ${name}`)) ?? {}) as Config
  return { config, weights: listedWeights(name, listing, config) }
}

/** The weights as the hub lists them: exact bytes. The parameters are estimated from the bytes if the hub does not list them. */
function listedWeights(name: string, { files, numbers }: Listing, config: Config): Weights {
  const weights = neededFiles(name, files).filter(file => isWeights(file.name))
  const size = weights.reduce((total, file) => total + file.size, 0)
  const { bits, group_size: group = 64 } = quantizationOf(config)
  const { dtype, torch_dtype: older } = config
  const width = WIDTHS.get(String(dtype ?? older)) ?? 2
  if (bits === undefined) {
    const all = numbers === undefined ? size / width : sum(Object.values(numbers))
    return { bytes: size, parameters: all, packedFloat32Bytes: 4 * all }
  }
  // A scale and a bias for each group, of two bytes each.
  const { U32: words, ...others } = numbers ?? {}
  if (words === undefined) {
    const all = Math.round((size * 8) / (bits + 32 / group))
    return { bytes: size, parameters: all, packedFloat32Bytes: size * ((bits + 64 / group) / (bits + 32 / group)) }
  }
  const packed = (words * 32) / bits
  const rest = sum(Object.values(others))
  const parameters = Math.round(packed + Math.max(rest - (2 * packed) / group, 0))
  return { bytes: size, parameters, packedFloat32Bytes: 4 * (words + rest) }
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)
