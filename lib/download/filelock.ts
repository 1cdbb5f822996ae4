// A lock between processes: a file beside the locked one, with the process that holds it. The lock of a process that has
// ended is taken over.

import { randomUUID } from 'node:crypto'
import { type FileHandle, link, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { clearInterval, setInterval } from '../timers'
import { pause } from './request'

const POLL_MS = 100
/**
 * A lock is abandoned if neither it nor the locked file has changed for this long. This finds the lock of an ended process on
 * another machine, or of one whose process id is in use again.
 */
const ABANDONED_MS = 10 * 60_000
/** The time between two marks of a process that holds a lock. */
const ALIVE_MS = 60_000

/** Runs `work` while no other process holds the lock of `path`. */
export async function withLock(path: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  const lock = `${path}.lock`
  const own = `${hostname()} ${process.pid} ${randomUUID()}`
  await acquire(path, lock, own, signal)
  // Work that writes nothing for long, such as hashing a large file, must not look abandoned.
  const alive = setInterval(() => void utimes(lock, new Date(), new Date()).catch(() => {}), ALIVE_MS)
  alive.unref()
  try {
    await work()
  } finally {
    clearInterval(alive)
    await remove(lock, own)
  }
}

async function acquire(path: string, lock: string, own: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const handle = await create(lock)
    if (handle !== undefined) {
      await handle.writeFile(own)
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

/** Removes the lock of a holder. Another process may have done so, and hold the lock by now: then its lock is put back. */
async function remove(lock: string, holder: string): Promise<void> {
  const aside = `${lock}.${randomUUID()}`
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
