// `npm run bench:server`: what the HTTP server costs over a call in the process, and how it compares with mlx_lm.server on the
// same model. Clients are a process of their own. Progress goes to stderr, tables to stdout; the last line of stdout is one
// JSON object. `--docs` also draws docs/server.svg.

import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { build } from '../tools/build/build.mjs'
import { main } from '../tools/build/failure.mjs'
import { environment, python } from '../tools/build/python.mjs'
import { at } from '../tools/build/repository.mjs'
import { machine } from './documents/machine.mjs'
import { among, count } from './flags.mjs'
import { startSide } from './job.mjs'
import { measure } from './measure.mjs'
import { DEMO, modelFolder } from './models.mjs'
import { progress } from './progress.mjs'
import { printGoals } from './report.mjs'
import { goalsOf, plotOf, printTables } from './server/report.mjs'
import { forStreams, STREAMS, STREAMS_BESIDE } from './server/streams.mjs'
import { launchServer } from './server_side.mjs'

/** The devices with their folders and backends. The simulated device computes nothing: time beyond its own is the server's. */
const DEVICES = {
  simulated: { folder: DEMO, model: 'demo', backend: { simulated: 'm3-max/llama-3.2-3b-4bit' } },
  demo: { model: 'demo', backend: 'mlx' },
  '26m': { model: '26m', backend: 'mlx' },
}
const FLAGS = {
  devices: { type: 'string', default: Object.keys(DEVICES).join(',') },
  pairs: { type: 'string', default: '5' },
  docs: { type: 'boolean', default: false },
}
const MOST_PAIRS = 50

await main(async () => {
  const { values } = parseArgs({ args: process.argv.slice(2), options: FLAGS, strict: true })
  const devices = among('--devices', values.devices, Object.keys(DEVICES))
  const pairs = count('--pairs', values.pairs, MOST_PAIRS)
  await build()
  progress('preparing Python with mlx-lm')
  const interpreter = await python()
  const [client, bare] = [await start('client.mjs'), await start('bare.mjs')]
  const cells = []
  try {
    for (const device of devices) cells.push(...(await measureDevice(device, { interpreter, client, bare, pairs })))
  } finally {
    await Promise.all([client.close(), bare.close()])
  }
  const goals = goalsOf(cells)
  printTables(cells)
  printGoals(goals)
  if (values.docs) writeFileSync(at('docs', 'server.svg'), plotOf(cells))
  console.log(JSON.stringify({ ...machine(), goals, cells: cells.map(({ pairs, ...cell }) => cell) }))
})

function start(script, ...args) {
  return startSide(process.execPath, [at('bench', 'server', script), ...args], environment)
}

async function measureDevice(name, { interpreter, client, bare, pairs }) {
  const { model, backend, folder = await modelFolder(model, interpreter) } = DEVICES[name]
  // Imported here, because this script builds the package first.
  const { promptsFor } = await import('./prompts.mjs')
  const take = await promptsFor(model)
  const host = await start('host.mjs', folder, JSON.stringify(backend))
  const [address, bareAddress] = [await host.run({}), await bare.run({})]
  const sides = {
    direct: { pid: host.pid, run: job => host.run(job) },
    http: { pid: host.pid, run: job => client.run({ ...job, ...address }) },
    bare: { pid: bare.pid, run: job => client.run({ ...job, ...bareAddress }) },
  }
  const options = { minRounds: pairs, take: streams => forStreams(take, streams) }
  const onRound = round => progress(`${name}: round ${round}`)
  try {
    const overhead = await measure(sides, { ...options, rows: STREAMS, onRound })
    const cells = [...rowsOf(name, 'overhead', overhead)]
    if (backend === 'mlx')
      cells.push(...(await beside({ name, folder, interpreter, client, http: sides.http }, options)))
    return cells
  } finally {
    await host.close()
  }
}

/** The same requests to mlx_lm.server. */
async function beside({ name, folder, interpreter, client, http }, options) {
  const other = await launchServer(interpreter, folder, environment)
  const mlxLm = { pid: other.pid, run: job => client.run({ ...job, port: other.port, model: folder }) }
  const onRound = round => progress(`${name}, beside mlx_lm.server: round ${round}`)
  try {
    return rowsOf(name, 'beside', await measure({ http, mlxLm }, { ...options, rows: STREAMS_BESIDE, onRound }))
  } finally {
    await other.close()
  }
}

function rowsOf(device, kind, rounds) {
  return [...rounds].map(([streams, pairs]) => ({ device, kind, streams, pairs }))
}
