// Measures an idle engine: a model is loaded, answers once, and waits. Prints the processor time of the whole process in
// milliseconds, as one line of JSON.

import { setTimeout } from 'node:timers/promises'
import mlxServing from '../dist/index.js'

const seconds = Number(process.argv[2])
const engine = await mlxServing.createEngine()
const model = await engine.loadModel()
await engine.generate({ model, prompt: 'Hello' })
// V8 collects garbage some 8 s after the last work. That is not the cost of an idle engine.
await setTimeout(15_000)
const before = process.cpuUsage()
await setTimeout(seconds * 1_000)
const { user, system } = process.cpuUsage(before)
console.log(JSON.stringify({ seconds, cpuMs: (user + system) / 1_000 }))
await engine.dispose()
