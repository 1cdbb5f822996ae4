// A lock between processes: a file beside the locked one, with the process that holds it. The lock of a process that has
// ended is taken over.

import { type FileHandle, link, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { pause } from './request'

const POLL_MS = 100
/**
 * A lock is abandoned if neither it nor the locked file has changed for this long. This finds the lock of an ended process on
 * another machine, or of one whose process id is in use again.
 */
const ABANDONED_MS = 10 * 60_000

/** Runs `work` while no other process holds the lock of `path`. */
export async function withLock(path: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  const lock = `${path}.lock`
  await acquire(path, lock, signal)
  try {
    await work()
  } finally {
    await rm(lock, { force: true })
  }
}

async function acquire(path: string, lock: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const handle = await create(lock)
    if (handle !== undefined) {
      await handle.writeFile(`${hostname()} ${process.pid}`)
      return handle.close()
    }
    const holder = await readFile(lock, 'utf8').catch(() => '')
    if (await isAbandoned(holder, path, lock)) await remove(lock, holder)
    else await pause(POLL_MS, signal)
  }
}

/** The lock file, unless it exists. */
async function create(lock: string): Promise<FileHandle | undefined> {
  try {
    return await open(lock, 'wx')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
    throw error
  }
}

async function isAbandoned(holder: string, path: string, lock: string): Promise<boolean> {
  const [host, pid] = holder.split(' ')
  if (host === hostname() && !isRunning(Number(pid))) return true
  const times = await Promise.all(
    [path, lock].map(file =>
      stat(file).then(
        found => found.mtimeMs,
        () => 0,
      ),
    ),
  )
  const last = Math.max(...times)
  return last > 0 && Date.now() - last > ABANDONED_MS
}

/** Removes an abandoned lock. Another process may have done so, and hold the lock by now: then its lock is put back. */
async function remove(lock: string, holder: string): Promise<void> {
  const aside = `${lock}.${process.pid}`
  try {
    await rename(lock, aside)
    if ((await readFile(aside, 'utf8')) !== holder) await link(aside, lock)
    await rm(aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
