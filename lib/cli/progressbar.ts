// A bar on stderr that shows how much of a model is downloaded or loaded. Without a terminal it shows nothing.

import type { LoadProgress } from '../../index'
import { bytes, duration } from './figures'
import { isWatched, paint } from './terminal'

const TITLES = { download: 'Downloading', load: 'Loading' }
const WIDTH = 24
const GAP = '  '
/** A load that is done sooner shows no bar. */
const SHORT_MS = 150

export class ProgressBar {
  readonly #started = performance.now()
  #stage: LoadProgress['stage'] | undefined
  #begin = { ms: 0, bytes: 0 }
  #isShown = false
  #timer: NodeJS.Timeout | undefined

  /** For `onProgress`. */
  readonly update = (progress: LoadProgress): void => {
    if (!isWatched()) return
    const { stage, loadedBytes, totalBytes } = progress
    const now = performance.now()
    clearTimeout(this.#timer)
    if (stage !== this.#stage) {
      this.#stage = stage
      this.#begin = { ms: now, bytes: loadedBytes }
    }
    const early = SHORT_MS - (now - this.#started)
    if (early > 0) {
      // A download may stall at once: then no other report follows.
      this.#timer = setTimeout(this.update, early, progress)
      return
    }
    const share = totalBytes === 0 ? 1 : loadedBytes / totalBytes
    const parts = [
      TITLES[stage].padEnd(11),
      '━'.repeat(WIDTH),
      `${Math.floor(share * 100)} %`.padStart(5),
      `${bytes(loadedBytes)} of ${bytes(totalBytes)}`,
      ...this.#pace(loadedBytes, totalBytes, now),
    ]
    // A line that is too long would wrap, and could not be written over.
    while (parts.length > 1 && parts.join(GAP).length >= (process.stderr.columns || 80)) parts.pop()
    if (parts.length > 1) parts[1] = drawing(share)
    this.#isShown = true
    process.stderr.write(`\r\u001b[K${parts.join(GAP)}`)
  }

  /** Removes the bar. */
  end(): void {
    clearTimeout(this.#timer)
    if (this.#isShown) process.stderr.write('\r\u001b[K')
    this.#isShown = false
  }

  /** The rate of a download and the time that is left. */
  #pace(loaded: number, total: number, now: number): string[] {
    const seconds = (now - this.#begin.ms) / 1000
    const rate = (loaded - this.#begin.bytes) / seconds
    if (this.#stage !== 'download' || seconds < 0.5 || rate <= 0 || loaded >= total) return []
    return [`${bytes(rate)}/s`, `${duration(((total - loaded) / rate) * 1000)} left`]
  }
}

function drawing(share: number): string {
  const done = Math.min(Math.floor(share * WIDTH), WIDTH)
  return `${paint('cyan', '━'.repeat(done), process.stderr)}${paint('dim', '─'.repeat(WIDTH - done), process.stderr)}`
}
