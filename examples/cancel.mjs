// Three ways to end a generation early: leave its loop, abort a signal, or call `cancel()`, which keeps the text so far. In
// each case its row is free for other requests within one step.

import { createEngine } from 'mlx-serving'

const engine = await createEngine({ backend: { simulated: 'm3-max/llama-3.2-3b-4bit' } })
const model = await engine.loadModel()
const params = { model, messages: [{ role: 'user', content: 'Tell me a story.' }], maxTokens: 1000 }

let tokens = 0
for await (const chunk of engine.generate(params)) {
  tokens += chunk.tokens.length
  if (tokens >= 5) break
}
console.log(`break: left after ${tokens} tokens`)

try {
  await engine.generate(params, { signal: AbortSignal.timeout(300) })
} catch (error) {
  console.log(`signal: rejected with its reason, a ${error.name}`)
}

const generation = engine.generate(params)
setTimeout(() => generation.cancel(), 300)
const { finishReason, usage } = await generation
console.log(`cancel: finish reason '${finishReason}', ${usage.outputTokens} tokens`)

await engine.shutdown()
