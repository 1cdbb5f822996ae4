// `mlx-serving pull`: downloads a model of the hub.

import { stat } from 'node:fs/promises'
import path from 'node:path'
import { downloadModel } from '../download/downloads'
import { bytes } from './figures'
import { interruptible } from './interrupts'
import { ProgressBar } from './progressbar'
import { filesIn } from './storedmodels'
import { note, printJson, printLine } from './terminal'

export interface PullOptions {
  readonly revision?: string
  readonly json?: boolean
}

export async function pull(name: string, { revision, json }: PullOptions): Promise<void> {
  const bar = new ProgressBar()
  const folder = await interruptible(signal =>
    downloadModel(name, { revision, signal, onProgress: bar.update }).finally(() => bar.end()),
  )
  const files = await filesIn(folder)
  const sizes = await Promise.all(files.map(async file => (await stat(path.join(folder, file))).size))
  const size = sizes.reduce((total, one) => total + one, 0)
  if (json) return printJson({ name, revision: revision ?? 'main', folder, files: files.length, bytes: size })
  note(`${name}: ${files.length} files, ${bytes(size)}`)
  // The folder alone, so that scripts can use it.
  await printLine(folder)
}
