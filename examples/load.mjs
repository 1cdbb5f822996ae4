// A busy engine, on any machine: 1 to 32 concurrent generations on a simulated laptop GPU. The total rate grows with the batch,
// while each stream slows down only a little.

import { createEngine } from 'mlx-serving'

const engine = await createEngine({ backend: { simulated: 'm3-max/llama-3.2-3b-4bit' }, scheduler: { batchSize: 32 } })
const model = await engine.loadModel()

for (const concurrent of [1, 2, 4, 8, 16, 32]) {
  const begin = performance.now()
  const questions = Array.from({ length: concurrent }, (_, index) => `Tell me story number ${index}.`)
  const ask = content => engine.generate({ model, messages: [{ role: 'user', content }], maxTokens: 64 })
  const results = await Promise.all(questions.map(ask))
  const tokens = results.reduce((sum, { usage }) => sum + usage.outputTokens, 0)
  const rate = (tokens / (performance.now() - begin)) * 1000
  const firstToken = Math.max(...results.map(({ timings }) => timings.ttftMs))
  console.log(
    `${concurrent} at once: ${rate.toFixed(0)} tok/s in all, last first token after ${firstToken.toFixed(0)} ms`,
  )
}

await engine.shutdown()
