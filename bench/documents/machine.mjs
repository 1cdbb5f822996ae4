// Where and with what a benchmark ran.

import { readFileSync } from 'node:fs'
import { arch, cpus, loadavg, platform, totalmem } from 'node:os'
import { at, readJson } from '../../tools/build/repository.mjs'

/** The machine, the versions and the date. */
export function machine() {
  const processors = cpus()
  const wheel = at('native', 'mlx-sys', 'wheels', `${platform()}-${arch()}.txt`)
  const [, mlx] = /^mlx-\w+==([\d.]+)/m.exec(readFileSync(wheel, 'utf8'))
  return {
    date: new Date().toISOString(),
    machine: `${processors.length} cores, ${processors[0].model.trim()}, ${platform()} ${arch()}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    // Of the last five minutes: above the number of cores, other work took time from the benchmark.
    load: loadavg()[1].toFixed(1),
    node: process.version,
    version: readJson(at('package.json')).version,
    mlx,
  }
}
