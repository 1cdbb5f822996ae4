// Downloads that run in this thread, of all engines. Callers that want the same model share one download.

import type { DownloadOptions, LoadProgress } from '../../index'
import { invalid } from '../errors'
import { isAbsent, readKnown, readString, show } from '../options'
import { type OnLoadProgress, SharedLoad, type Waiting } from '../sharedload'
import { readSignal, reasonOf } from '../signals'
import { accessOf } from './access'
import { isModelName, isRevision } from './repository'
import { snapshot } from './snapshot'

/** The model of a hub that a caller wants. */
export interface HubModel {
  readonly name: string
  readonly revision: string | undefined
  readonly token: string | undefined
}

const KNOWN = ['revision', 'token', 'signal', 'onProgress']

const running = new Map<string, SharedLoad<string>>()

/** Downloads a model of a hub, as far as the cache does not have it, and returns its folder. */
export async function downloadModel(name: string, options?: DownloadOptions): Promise<string> {
  const { revision, token, signal, onProgress } = readKnown(options, 'options', KNOWN)
  const read = readString(name, 'name')
  if (!isModelName(read)) throw invalid('name', `must be the name of a model, such as 'owner/name', not ${show(read)}`)
  return download(
    { name: read, revision: readRevision(revision), token: readToken(token) },
    { signal: readSignal(signal), onProgress: readListener(onProgress) },
  )
}

/** Like {@link downloadModel}, with options that were read. */
export async function download({ name, revision = 'main', token }: HubModel, waiting: Waiting): Promise<string> {
  if (waiting.signal?.aborted) throw reasonOf(waiting.signal)
  const access = accessOf(token)
  const key = JSON.stringify([name, revision, access])
  const shared = running.get(key)
  if (shared !== undefined) return shared.wait(waiting)
  const stop = new AbortController()
  let progress: LoadProgress | null = null
  const onBytes = (loadedBytes: number, totalBytes: number) => {
    progress = { stage: 'download', loadedBytes, totalBytes }
  }
  const forget = () => running.get(key) === load && running.delete(key)
  const load: SharedLoad<string> = new SharedLoad({
    load: async () => {
      try {
        const folder = await snapshot({ name, revision, onBytes }, access, stop.signal)
        if (progress !== null) load.complete(progress)
        return folder
      } finally {
        forget()
      }
    },
    progress: () => progress,
    abort: () => {
      // A later call starts a new download, which goes on from what has arrived.
      forget()
      stop.abort()
    },
  })
  running.set(key, load)
  return load.wait(waiting)
}

export function readRevision(value: unknown): string | undefined {
  if (isAbsent(value)) return undefined
  const revision = readString(value, 'revision')
  if (isRevision(revision)) return revision
  throw invalid('revision', `must be a branch, a tag or a commit, not ${show(revision)}`)
}

export function readToken(value: unknown): string | undefined {
  if (isAbsent(value)) return undefined
  const token = readString(value, 'token')
  // The value is a secret, so the message does not show it.
  if (/^[\x21-\x7e]{1,512}$/.test(token)) return token
  throw invalid('token', 'must have 1 to 512 visible ASCII characters')
}

export function readListener(value: unknown): OnLoadProgress | undefined {
  if (isAbsent(value)) return undefined
  if (typeof value !== 'function') throw invalid('onProgress', `must be a function, not ${show(value)}`)
  return value as OnLoadProgress
}
