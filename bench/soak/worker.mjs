// A worker thread of a soak: generates with an engine of its own, and ends in the way that its data names.

import { parentPort, workerData } from 'node:worker_threads'
import mlxServing from '../../dist/index.js'

const { kind, how } = workerData
const engine = await mlxServing.createEngine(
  kind === 'mlx' ? {} : { backend: { simulated: 'm3-max/llama-3.2-3b-4bit' } },
)
const model = await engine.loadModel()
const params = { model, prompt: 'Tell me everything.', temperature: 1, maxTokens: 100, ignoreEos: true }
const running = Array.from({ length: 4 }, (_, seed) => engine.generate({ ...params, seed }))
for (const one of running) one.catch(() => {})
for await (const _ of engine.generate(params)) break
parentPort.postMessage('running')
if (how === 'exit') process.exit(7)
if (how === 'error') throw new Error('the error of a worker')
if (how === 'done') await engine.shutdown({ drainMs: 0 })
if (how === 'terminated') await Promise.all(running)
