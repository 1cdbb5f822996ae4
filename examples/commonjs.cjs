// The package from CommonJS. It is the same implementation as for ES modules, so error classes are the same.

const { createEngine } = require('mlx-serving')

async function main() {
  const engine = await createEngine()
  const model = await engine.loadModel()
  const question = process.argv[2] ?? 'What is 20 + 3?'
  const { text } = await engine.generate({ model, messages: [{ role: 'user', content: question }] })
  console.log(text)
  await engine.shutdown()
}

main()
