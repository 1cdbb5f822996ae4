// Downloads one file into the cache. A file gets its name there once its hash is right. Until then it has the ending
// `.incomplete`, and a later download goes on from its length.

import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import { downloadError, Transient } from './failure'
import { withLock } from './filelock'
import type { RemoteFile } from './repository'
import { Attempt, type Client, retrying } from './request'

const SHA256_LENGTH = 64

/** A file to download. */
export interface Transfer {
  readonly file: RemoteFile
  readonly url: URL
  /** Its place in the cache. */
  readonly blob: string
  /** Called with the number of bytes that are there now. */
  readonly onBytes: (numBytes: number) => void
}

/** The file in which a file of the cache arrives. */
export const incomplete = (blob: string): string => `${blob}.incomplete`

/** Downloads a file, unless the cache has it. Another process that downloads it is waited for. */
export async function downloadFile(client: Client, transfer: Transfer): Promise<void> {
  if (await isThere(transfer)) return
  await withLock(incomplete(transfer.blob), client.signal, async () => {
    if (await isThere(transfer)) return
    await fetchFile(client, transfer)
  })
}

async function isThere({ blob, file, onBytes }: Transfer): Promise<boolean> {
  const found = await stat(blob).catch(() => undefined)
  const isThere = found?.isFile() === true && found.size === file.size
  if (isThere) onBytes(file.size)
  return isThere
}

async function fetchFile(client: Client, transfer: Transfer): Promise<void> {
  const path = incomplete(transfer.blob)
  const handle = await open(path, 'a+')
  try {
    const part = await Part.resume(handle, path, transfer)
    if (!(await receive(client, transfer, part))) {
      // The part that an earlier download left may be damaged.
      await part.restart()
      if (!(await receive(client, transfer, part))) throw damaged(transfer.file)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(path, transfer.blob)
}

/** Receives what is missing. Returns whether the whole file has the right hash. */
async function receive(client: Client, transfer: Transfer, part: Part): Promise<boolean> {
  await retrying(
    client,
    () => receiveSome(client, transfer, part),
    () => part.size,
  )
  return part.isRight()
}

/** Receives until the file is complete or the connection ends. */
async function receiveSome(client: Client, { file, url }: Transfer, part: Part): Promise<void> {
  if (part.size === file.size) return
  const attempt = new Attempt(client)
  try {
    const range = part.size > 0 ? { range: `bytes=${part.size}-` } : {}
    const response = await attempt.get(url, file.name, range, [200, 206, 416])
    const isRest = response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${part.size}-`)
    // The hub sends the whole file, or cannot send this rest.
    if (!isRest) await part.restart()
    if (response.status === 416) throw new Transient(`${file.name}: the hub cannot send the rest of the file`)
    await store(attempt, response, part, file)
  } finally {
    attempt.end()
  }
  if (part.size < file.size) {
    throw new Transient(`${file.name}: the connection ended after ${part.size} of ${file.size} bytes`)
  }
}

async function store(attempt: Attempt, response: Response, part: Part, file: RemoteFile): Promise<void> {
  const chunks = response.body?.[Symbol.asyncIterator]()
  const next = async () => {
    try {
      return await chunks?.next()
    } catch (error) {
      throw attempt.failure(file.name, error)
    }
  }
  for (let chunk = await next(); chunk && !chunk.done; chunk = await next()) {
    attempt.progressed()
    if (part.size + chunk.value.length > file.size) {
      await chunks?.return?.()
      throw downloadError(`${file.name}: the hub sent more than the ${file.size} bytes that it announced`)
    }
    await part.append(chunk.value)
  }
}

function damaged({ name, hash }: RemoteFile): Error {
  return downloadError(`${name}: what the hub sent does not have the announced hash ${hash}`)
}

/** The part of a file that has arrived. */
class Part {
  size = 0
  readonly #handle: FileHandle
  readonly #transfer: Transfer
  #hash: Hash

  private constructor(handle: FileHandle, transfer: Transfer) {
    this.#handle = handle
    this.#transfer = transfer
    this.#hash = hashOf(transfer.file)
  }

  /** Goes on from what an earlier download left. */
  static async resume(handle: FileHandle, path: string, transfer: Transfer): Promise<Part> {
    const part = new Part(handle, transfer)
    const { size } = await handle.stat()
    if (size > transfer.file.size) await part.restart()
    else if (size > 0) {
      for await (const chunk of createReadStream(path)) part.#count(chunk)
    }
    return part
  }

  async append(bytes: Uint8Array): Promise<void> {
    await this.#handle.writeFile(bytes)
    this.#count(bytes)
  }

  /** Forgets what has arrived. */
  async restart(): Promise<void> {
    await this.#handle.truncate(0)
    this.size = 0
    this.#hash = hashOf(this.#transfer.file)
    this.#transfer.onBytes(0)
  }

  /** Whether the file has the right hash, and nothing else has written to it. */
  async isRight(): Promise<boolean> {
    const { size } = await this.#handle.stat()
    return size === this.size && this.#hash.copy().digest('hex') === this.#transfer.file.hash
  }

  #count(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    this.size += bytes.length
    this.#transfer.onBytes(this.size)
  }
}

/** Large files are known by their SHA-256, the others by the hash that git gives them. */
function hashOf({ hash, size }: RemoteFile): Hash {
  return hash.length === SHA256_LENGTH ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`)
}
