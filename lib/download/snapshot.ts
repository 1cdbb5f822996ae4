// Brings a model of a hub into the cache of the Hugging Face tools: which commit a revision is, which files are missing, the
// links of the snapshot. `file` downloads one file.

import { randomUUID } from 'node:crypto'
import {
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  statfs,
  symlink,
  writeFile,
} from 'node:fs/promises'
import path from 'node:path'
import { errorOf, type MlxServingError } from '../errors'
import type { Access } from './access'
import { downloadError, Transient } from './failure'
import { downloadFile, incomplete } from './file'
import {
  INDEX,
  isCommit,
  isComplete,
  type Listing,
  neededFiles,
  type RemoteFile,
  readListing,
  storageOf,
} from './repository'
import { type Client, getJson } from './request'

const NUM_PARALLEL = 4

/** A model of a hub. */
export interface Wanted {
  readonly name: string
  /** A branch, tag or commit. */
  readonly revision: string
  /** Called as bytes arrive, with bytes that the cache had included. */
  readonly onBytes: (loadedBytes: number, totalBytes: number) => void
}

/** The folder of a model in the cache. Downloads what is missing. */
export async function snapshot(wanted: Wanted, access: Access, signal: AbortSignal): Promise<string> {
  const { name, revision } = wanted
  const cached = await cachedSnapshot(wanted, access)
  // A commit never changes.
  if (cached !== undefined && (access.isOffline || isCommit(revision))) return cached
  if (access.isOffline) throw notCached(wanted, access)
  const client: Client = { access, signal }
  let listing: Listing
  try {
    listing = await list(client, wanted)
  } catch (error) {
    if (cached === undefined || !isUnreachable(error)) throw error
    process.emitWarning(`${(error as Error).message}. The cached ${name} is used`, 'MlxServingWarning')
    return cached
  }
  return download(client, wanted, listing)
}

/** The files of a revision of a model, as the hub describes them. */
export async function list(client: Client, { name, revision }: Pick<Wanted, 'name' | 'revision'>): Promise<Listing> {
  const path = `/api/models/${name}/revision/${encodeURIComponent(revision)}?blobs=true`
  const what = revision === 'main' ? name : `${name} at ${revision}`
  return readListing(name, await getJson(client, new URL(client.access.endpoint + path), what))
}

/** Whether the hub gave no answer, or no useful one, after several tries. */
function isUnreachable(error: unknown): boolean {
  return error instanceof Error && error.cause instanceof Transient
}

async function download(client: Client, wanted: Wanted, listing: Listing): Promise<string> {
  const storage = storageOf(client.access.cacheFolder, wanted.name)
  const files = neededFiles(wanted.name, listing.files)
  const folder = path.join(storage, 'snapshots', listing.commit)
  await writing(storage, async () => {
    await mkdir(path.join(storage, 'blobs'), { recursive: true })
    await mkdir(folder, { recursive: true })
  })
  await checkSpace(storage, files)
  await transfer(client, wanted, listing.commit, files)
  await writing(storage, async () => {
    for (const file of files) await place(storage, folder, file)
    if (!isCommit(wanted.revision)) await note(storage, wanted.revision, listing.commit)
  })
  return folder
}

/** Downloads files, several at a time. The first failure ends all of them. */
async function transfer(client: Client, wanted: Wanted, commit: string, files: readonly RemoteFile[]): Promise<void> {
  const { access } = client
  const storage = storageOf(access.cacheFolder, wanted.name)
  const received = new Array<number>(files.length).fill(0)
  const totalBytes = sum(files.map(file => file.size))
  const failed = new AbortController()
  const shared = { access, signal: AbortSignal.any([client.signal, failed.signal]) }
  // All workers take from one iterator.
  const rest = files.entries()
  const work = async () => {
    for (const [index, file] of rest) {
      await downloadFile(shared, {
        file,
        url: new URL(`${access.endpoint}/${wanted.name}/resolve/${commit}/${file.name}`),
        blob: path.join(storage, 'blobs', file.hash),
        onBytes: numBytes => {
          received[index] = numBytes
          wanted.onBytes(sum(received), totalBytes)
        },
      })
    }
  }
  const workers = Array.from({ length: NUM_PARALLEL }, () => writing(storage, work))
  try {
    await Promise.all(workers)
  } catch (error) {
    failed.abort(error)
    // No worker may write after this.
    await Promise.allSettled(workers)
    throw error
  }
}

async function checkSpace(storage: string, files: readonly RemoteFile[]): Promise<void> {
  const needed = sum(
    await Promise.all(files.map(file => missingBytes(path.join(storage, 'blobs', file.hash), file.size))),
  )
  const { bavail, bsize } = await statfs(storage)
  if (needed <= bavail * bsize) return
  const message = `the download needs ${needed} bytes in ${storage}; ${bavail * bsize} are free`
  throw errorOf('DownloadError', message, { limit: bavail * bsize, requested: needed })
}

/** The bytes of a file that have not arrived. */
export async function missingBytes(blob: string, size: number): Promise<number> {
  const sizes = await Promise.all(
    [blob, incomplete(blob)].map(file =>
      stat(file).then(
        found => found.size,
        () => 0,
      ),
    ),
  )
  return Math.max(0, size - Math.max(...sizes))
}

/** Links a file of a snapshot to its content, as the Hugging Face tools do. */
async function place(storage: string, folder: string, { name, hash }: RemoteFile): Promise<void> {
  const link = path.join(folder, name)
  const target = path.relative(path.dirname(link), path.join(storage, 'blobs', hash))
  if ((await readlink(link).catch(() => undefined)) === target) return
  await replace(link, aside => symlink(target, aside))
}

/** Notes which commit a revision is. */
async function note(storage: string, revision: string, commit: string): Promise<void> {
  await replace(path.join(storage, 'refs', revision), aside => writeFile(aside, commit))
}

/** Makes a file under another name, then renames it: other processes may read and make the same file. */
async function replace(file: string, make: (aside: string) => Promise<void>): Promise<void> {
  const folder = path.dirname(file)
  await mkdir(folder, { recursive: true })
  const aside = path.join(folder, `.${randomUUID()}`)
  try {
    await make(aside)
    await rename(aside, file)
  } catch (error) {
    await rm(aside, { force: true })
    throw error
  }
}

/** The snapshot of a revision in the cache, if it is complete. */
async function cachedSnapshot({ name, revision }: Wanted, { cacheFolder }: Access): Promise<string | undefined> {
  const storage = storageOf(cacheFolder, name)
  const commit = isCommit(revision)
    ? revision
    : await readFile(path.join(storage, 'refs', revision), 'utf8').then(
        text => text.trim(),
        () => '',
      )
  if (!isCommit(commit)) return undefined
  const folder = path.join(storage, 'snapshots', commit)
  const names = await readdir(folder).catch(() => [])
  const root = await realpath(storage).catch(() => storage)
  const inside = await Promise.all(names.map(file => isInside(root, path.join(folder, file))))
  const there = new Set(names.filter((_, index) => inside[index]))
  const shards = there.has(INDEX) ? await shardsOf(path.join(folder, INDEX)) : undefined
  return isComplete(there, shards) ? folder : undefined
}

/** Whether a file is there and no link leads out of `root`, the real path of the model's folder in the cache. */
async function isInside(root: string, file: string): Promise<boolean> {
  try {
    return (await realpath(file)).startsWith(root + path.sep)
  } catch {
    return false
  }
}

/** The weight files of an index. For a broken index one name that no file has, so that the snapshot counts as incomplete. */
async function shardsOf(index: string): Promise<string[]> {
  try {
    const { weight_map: map } = JSON.parse(await readFile(index, 'utf8')) as { weight_map: Record<string, string> }
    return [...new Set(Object.values(map))]
  } catch {
    return ['']
  }
}

/** Runs `work`, which writes into the cache. Its failures name the cache. */
async function writing<T>(storage: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const isSystem = error instanceof Error && 'syscall' in error && 'code' in error
    throw isSystem ? downloadError(`the model cache at ${storage} cannot be written: ${error.message}`, error) : error
  }
}

function notCached({ name, revision }: Wanted, { cacheFolder }: Access): MlxServingError {
  const message = `${name} at ${revision} is not complete in the cache at ${cacheFolder}, and \`HF_HUB_OFFLINE\` forbids requests`
  return errorOf('ModelNotFound', message)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
