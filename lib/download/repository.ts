// Names of models on a hub, and the listing of a model's files. Answers of a hub are checked: other file names
// than those that a model is loaded from are left out, and a hash must have the form of a hash.

import path from 'node:path'
import { downloadError } from './failure'

/** The longest name that the hub allows. */
const MAX_NAME = 96
const MAX_REVISION = 255
const MAX_FILES = 10_000
const PART = /^[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?$/
const COMMIT = /^[0-9a-f]{40}$/
const SHA256 = /^[0-9a-f]{64}$/

const SINGLE = 'model.safetensors'
export const INDEX = 'model.safetensors.index.json'
/** The files besides weights that a model is loaded from. */
const TEXTS = new Set([
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'chat_template.json',
  'additional_chat_templates/default.jinja',
  'additional_chat_templates/tool_use.jinja',
])

/** A file of a model at one commit. */
export interface RemoteFile {
  readonly name: string
  readonly size: number
  /** The hash of its content, which is also its name in the cache. */
  readonly hash: string
}

/** The files of a model at one commit. */
export interface Listing {
  readonly commit: string
  readonly files: readonly RemoteFile[]
  /** The numbers in its weights by element type, such as `BF16`, if the hub has counted them. */
  readonly numbers?: Readonly<Record<string, number>>
}

/** Whether a text has the form `organization/name`. */
export function isModelName(text: string): boolean {
  const parts = text.split('/')
  const isPlain = !text.includes('--') && !text.includes('..') && !text.endsWith('.git')
  return parts.length === 2 && text.length <= MAX_NAME && isPlain && parts.every(part => PART.test(part))
}

/** Whether a text can be the name of a branch or tag, or a commit. */
export function isRevision(text: string): boolean {
  return text.length <= MAX_REVISION && text.split('/').every(part => PART.test(part)) && !text.includes('..')
}

export function isCommit(revision: string): boolean {
  return COMMIT.test(revision)
}

/** The folder of a model in the cache. */
export function storageOf(cacheFolder: string, name: string): string {
  return path.join(cacheFolder, `models--${name.replace('/', '--')}`)
}

/** Reads the hub's description of a model. */
export function readListing(name: string, answer: unknown): Listing {
  const { sha, siblings, safetensors } = (answer ?? {}) as Record<string, unknown>
  if (typeof sha !== 'string' || !isCommit(sha)) throw strange(name, '`sha` is not a commit')
  if (!Array.isArray(siblings) || siblings.length > MAX_FILES) throw strange(name, '`siblings` is not a list of files')
  const numbers = readNumbers(safetensors)
  return { commit: sha, files: siblings.flatMap(sibling => readFile(name, sibling)), ...(numbers && { numbers }) }
}

/** Counts that are not usable are left out: only estimates need them. */
function readNumbers(safetensors: unknown): Record<string, number> | undefined {
  const { parameters } = (safetensors ?? {}) as { parameters?: unknown }
  if (typeof parameters !== 'object' || parameters === null) return undefined
  const isCount = ([, count]: [string, unknown]) => Number.isSafeInteger(count) && (count as number) >= 0
  const counts = Object.entries(parameters)
  return counts.length > 0 && counts.every(isCount) ? (Object.fromEntries(counts) as Record<string, number>) : undefined
}

/** Leaves out files with other names than those that a model is loaded from. */
function readFile(model: string, sibling: unknown): RemoteFile[] {
  const { rfilename, size, blobId, lfs } = (sibling ?? {}) as Record<string, unknown>
  if (typeof rfilename !== 'string' || !isNeeded(rfilename)) return []
  const { sha256 } = (lfs ?? {}) as { sha256?: unknown }
  const hash = sha256 ?? blobId
  const isHash = typeof hash === 'string' && (SHA256.test(hash) || COMMIT.test(hash))
  if (!isHash) throw strange(model, `${rfilename} has no hash`)
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw strange(model, `${rfilename} has no size`)
  return [{ name: rfilename, size, hash }]
}

function isNeeded(name: string): boolean {
  return TEXTS.has(name) || name === INDEX || isWeights(name)
}

/** As the loader names weights. Other weights, such as `consolidated.safetensors`, repeat them in another layout. */
export function isWeights(name: string): boolean {
  return /^(?:model|weights)[\w.-]*\.safetensors$/.test(name)
}

/** The files to download. If a model has its weights in `model.safetensors`, its other weight files are left out. */
export function neededFiles(model: string, files: readonly RemoteFile[]): readonly RemoteFile[] {
  const weights = files.filter(file => isWeights(file.name))
  const missing =
    weights.length === 0 ? '`.safetensors` files' : files.some(f => f.name === 'config.json') ? '' : '`config.json`'
  if (missing) {
    throw downloadError(
      `${model} cannot be loaded: it has no ${missing}. Models in MLX or Transformers layout have them`,
    )
  }
  if (!weights.some(file => file.name === SINGLE)) return files
  return files.filter(file => file.name === SINGLE || (!isWeights(file.name) && file.name !== INDEX))
}

/** Whether a folder can have all files of a model, as far as their names show. `shards` are those of its index. */
export function isComplete(names: ReadonlySet<string>, shards: readonly string[] | undefined): boolean {
  if (!names.has('config.json') || !names.has('tokenizer.json')) return false
  if (names.has(SINGLE)) return true
  return shards === undefined ? [...names].some(isWeights) : shards.every(shard => names.has(shard))
}

function strange(model: string, problem: string): Error {
  return downloadError(`the hub's description of ${model} cannot be used: ${problem}`)
}
