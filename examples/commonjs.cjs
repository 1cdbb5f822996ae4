// The package from CommonJS: the same implementation, so that errors caught on either side are of the same classes.

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
