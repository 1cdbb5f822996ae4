// One start of the engine as in a program: require, open, load the bundled model, ask, first token. Prints the milliseconds
// from before `require` to each of these points. startup.mjs runs it in a new process for each start.

const begin = performance.now()
const since = () => performance.now() - begin

async function main() {
  const { createEngine } = require('mlx-serving')
  const at = { required: since() }
  const engine = await createEngine()
  at.opened = since()
  const model = await engine.loadModel()
  at.loaded = since()
  for await (const _ of engine.generate({
    model,
    messages: [{ role: 'user', content: process.argv[2] }],
    temperature: 0,
  }))
    break
  at.firstToken = since()
  console.log(JSON.stringify(at))
}

main()
