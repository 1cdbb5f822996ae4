// `mlx-serving list`: the models of this machine. `mlx-serving rm`: removes one from the cache.

import { rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { accessOf } from '../download/access'
import { storageOf } from '../download/repository'
import { errorOf } from '../errors'
import { Interrupted, wrongUsage } from './exits'
import { bytes, table } from './figures'
import { BUNDLED, storedModels } from './storedmodels'
import { note, printJson, printLine } from './terminal'

const COLUMNS = [
  { title: 'NAME' },
  { title: 'FAMILY' },
  { title: 'FORMAT' },
  { title: 'SIZE', align: 'right' },
  { title: 'CHANGED' },
  { title: 'STATE' },
] as const

export async function list({ json }: { json?: boolean }): Promise<void> {
  const models = await storedModels()
  if (json) return printJson({ cache: accessOf(undefined).cacheFolder, models })
  const rows = models.map(({ name, family, format, bytes: size, changed, isBundled, isPartial }) => [
    name,
    family,
    format,
    bytes(size),
    changed.toISOString().slice(0, 10),
    isBundled ? 'bundled' : isPartial ? 'not complete' : 'ready',
  ])
  await printLine(table(COLUMNS, rows))
}

export async function remove(name: string, { yes, json }: { yes?: boolean; json?: boolean }): Promise<void> {
  if (name === BUNDLED) throw wrongUsage('the bundled model is a part of the package and cannot be removed')
  const found = (await storedModels()).find(model => model.name === name)
  if (found === undefined) throw errorOf('ModelNotFound', `${name} is not in ${accessOf(undefined).cacheFolder}`)
  const storage = storageOf(accessOf(undefined).cacheFolder, name)
  if (!yes && !(await isConfirmed(`Remove ${name} (${bytes(found.bytes)})?`))) return
  await rm(storage, { recursive: true })
  if (json) return printJson({ removed: name, bytes: found.bytes })
  note(`removed ${name}: ${bytes(found.bytes)}`)
}

/** Asks a person. Ctrl-D means no. */
async function isConfirmed(question: string): Promise<boolean> {
  if (process.stdin.isTTY !== true) {
    throw wrongUsage('there is no terminal to ask on', 'remove the model without a question with --yes')
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await new Promise<string>((resolve, reject) => {
      terminal.on('close', () => resolve(''))
      terminal.on('SIGINT', () => reject(new Interrupted('SIGINT')))
      terminal.question(`${question} [y/N] `, resolve)
    })
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    terminal.close()
  }
}
