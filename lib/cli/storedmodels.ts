// The models of this machine: those in the cache of the Hugging Face tools, and the one that ships with the package. Nothing is
// loaded; files that are broken are shown as such.

import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { accessOf } from '../download/access'
import { isModelName, storageOf } from '../download/repository'
import { errorOf } from '../errors'
import { demoModel } from '../load'

/** The name by which the bundled model is listed. */
export const BUNDLED = 'demo'

export interface StoredModel {
  readonly name: string
  readonly isBundled: boolean
  /** Absent if no revision is complete enough to have a `config.json`. */
  readonly folder?: string
  readonly family: string
  readonly format: string
  /** Bytes of its files on this machine, of all revisions. */
  readonly bytes: number
  readonly revisions: readonly string[]
  /** Whether a download has not ended. */
  readonly isPartial: boolean
  /** When it last changed. */
  readonly changed: Date
}

/** A `config.json`, as far as it is an object. */
export type Config = Readonly<Record<string, unknown>>

/** All models of this machine, by name; the bundled one first. */
export async function storedModels(): Promise<StoredModel[]> {
  const { cacheFolder } = accessOf(undefined)
  const names = await readdir(cacheFolder).catch(() => [])
  const models = names.flatMap(name => {
    const [kind, owner, repository] = name.split('--')
    const full = `${owner}/${repository}`
    return kind === 'models' && isModelName(full) ? [full] : []
  })
  const stored = await Promise.all(models.sort().map(name => describe(name, storageOf(cacheFolder, name))))
  return [await bundled(), ...stored]
}

async function bundled(): Promise<StoredModel> {
  const folder = demoModel()
  const config = await readConfig(folder)
  const state = { isBundled: true, isPartial: false, revisions: [], changed: (await stat(folder)).mtime }
  return { name: BUNDLED, folder, ...kindOf(config), bytes: await sizeOf(folder), ...state }
}

async function describe(name: string, storage: string): Promise<StoredModel> {
  const revisions = await readdir(path.join(storage, 'snapshots')).catch(() => [])
  const blobs = await readdir(path.join(storage, 'blobs')).catch(() => [])
  const folder = await folderOf(storage, revisions)
  const config = folder === undefined ? {} : await readConfig(folder)
  return {
    name,
    isBundled: false,
    ...(folder !== undefined && { folder }),
    ...kindOf(config),
    bytes: await sizeOf(path.join(storage, 'blobs')),
    revisions,
    isPartial: folder === undefined || blobs.some(blob => blob.endsWith('.incomplete')),
    changed: (await stat(storage)).mtime,
  }
}

/** The snapshot of `main`, or else the first one with a `config.json`. */
async function folderOf(storage: string, revisions: readonly string[]): Promise<string | undefined> {
  const main = await readFile(path.join(storage, 'refs', 'main'), 'utf8').catch(() => '')
  for (const commit of [main.trim(), ...revisions]) {
    const folder = path.join(storage, 'snapshots', commit)
    if (commit !== '' && (await exists(path.join(folder, 'config.json')))) return folder
  }
  return undefined
}

/** A model that a command names, as the engine loads it. `demo` is the bundled model, unless a folder `demo` has a model. */
export async function pathOf(model: string): Promise<string> {
  const isBundled = model === BUNDLED && !(await exists(path.join(model, 'config.json')))
  return isBundled ? demoModel() : model
}

/** The folder of a model that a command names: a path, a name in the cache, or the bundled model. */
export async function folderNamed(model: string | undefined): Promise<string | undefined> {
  if (model === undefined) return demoModel()
  const place = await pathOf(model)
  if (await exists(path.join(place, 'config.json'))) return realpath(place)
  if (!isModelName(model)) return undefined
  const storage = storageOf(accessOf(undefined).cacheFolder, model)
  return folderOf(storage, await readdir(path.join(storage, 'snapshots')).catch(() => []))
}

/** As {@link folderNamed}; a model that is not there is an error. */
export async function needFolder(model: string | undefined): Promise<string> {
  const folder = await folderNamed(model)
  if (folder !== undefined) return folder
  throw errorOf('ModelNotFound', `${model} is neither a folder with a config.json nor a model in the cache`)
}

/** Reads `config.json`. A broken one is empty. */
export async function readConfig(folder: string): Promise<Config> {
  const value = await readJson(path.join(folder, 'config.json'))
  return typeof value === 'object' && value !== null ? (value as Config) : {}
}

/** The value of a JSON file; `undefined` if it is missing or broken. */
export async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as unknown
  } catch {
    return undefined
  }
}

/** The family and the format of the weights. */
export function kindOf(config: Config): { family: string; format: string } {
  const family = typeof config.model_type === 'string' ? config.model_type : 'unknown'
  return { family, format: formatOf(config) }
}

function formatOf(config: Config): string {
  const { bits, group_size: group } = quantizationOf(config)
  if (bits !== undefined) return group === undefined ? `${bits}-bit` : `${bits}-bit, groups of ${group}`
  const { dtype, torch_dtype: older } = config
  const type = dtype ?? older
  return typeof type === 'string' ? type : 'unknown'
}

/** Bits and group size of quantized weights. */
export function quantizationOf(config: Config): { bits?: number; group_size?: number } {
  const { bits, group_size } = (config.quantization ?? {}) as Record<string, unknown>
  return { ...(typeof bits === 'number' && { bits }), ...(typeof group_size === 'number' && { group_size }) }
}

/** The group size of a quantized layer, which may have settings of its own. */
export function groupOf(config: Config): (layer: string) => number | undefined {
  const { group_size: common } = quantizationOf(config)
  const layers = (config.quantization ?? {}) as Record<string, unknown>
  return layer => {
    const { group_size: own } = (layers[layer] ?? {}) as { group_size?: unknown }
    return typeof own === 'number' ? own : common
  }
}

/** The files of a folder, without its folders. */
export async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [])
  const isFile = await Promise.all(
    names.map(async name => (await stat(path.join(folder, name)).catch(() => undefined))?.isFile()),
  )
  return names.filter((_, at) => isFile[at])
}

async function sizeOf(folder: string): Promise<number> {
  const files = await filesIn(folder)
  const sizes = await Promise.all(files.map(async file => (await stat(path.join(folder, file))).size))
  return sizes.reduce((total, size) => total + size, 0)
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  )
}
