// Programs that use the installed package in different ways: their sources, how they are built and how they are run.
// Each asks the bundled model the same question and prints the answer. None shuts the engine down; each must end by itself.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quiet } from '../command.mjs'
import { Failure } from '../failure.mjs'
import { at, commandOf } from '../repository.mjs'
import { tool } from './tools.mjs'

const QUESTION = "{ role: 'user', content: 'What is 20 + 3?' }"
const ANSWER = /\b23\b/
/** A program that does not end by itself within this time is killed and fails. */
const TIME_LIMIT = 60_000

/** Also checks which libraries were loaded: a checkout has others that could be found. */
const ASK = folder => `
async function ask() {
  const engine = await createEngine()
  const model = await engine.loadModel()
  const { text } = await engine.generate({ model, messages: [${QUESTION}], temperature: 0 })
  const loaded = process.report.getReport().sharedObjects.filter(path => /mlx/.test(path))
  const strays = loaded.filter(path => !path.startsWith(${JSON.stringify(folder)}))
  console.log(strays.length === 0 ? text : 'loaded from outside the installed packages: ' + strays)
}
ask()
`

const TYPED = `import { createEngine, type GenerateResult, MlxServingError } from 'mlx-serving'

export async function ask(content: string): Promise<string> {
  const engine = await createEngine()
  const model = await engine.loadModel()
  for await (const { text } of engine.generate({ model, prompt: 'Once', maxTokens: 2 })) if (text === '') continue
  const result: GenerateResult = await engine.generate({ model, messages: [{ role: 'user', content }], temperature: 0 })
  return result.text
}

ask('What is 20 + 3?').then(
  text => console.log(text),
  (error: unknown) => console.log(error instanceof MlxServingError ? error.code : error),
)
`

const WORKER = `
import { Worker } from 'node:worker_threads'
new Worker(new URL('ask.mjs', import.meta.url)).on('error', error => { throw error })
`

/** Checks library declarations too: index.d.ts must not need types that a project may lack. */
const tsconfig = (options, files) => ({
  compilerOptions: {
    target: 'es2022',
    strict: true,
    skipLibCheck: false,
    types: ['node'],
    typeRoots: [at('node_modules', '@types')],
    ...options,
  },
  files,
})

/** Writes all programs into a folder in which the package is installed. */
export function writePrograms(folder) {
  const files = {
    'ask.mjs': `import { createEngine } from 'mlx-serving'\n${ASK(folder)}`,
    'ask.cjs': `const { createEngine } = require('mlx-serving')\n${ASK(folder)}`,
    'worker.mjs': WORKER,
    'typed.mts': TYPED,
    'typed.cts': TYPED,
    'bundled.ts': TYPED,
    'node16.json': JSON.stringify(tsconfig({ module: 'node16', outDir: 'compiled' }, ['typed.mts', 'typed.cts'])),
    'bundler.json': JSON.stringify(
      tsconfig({ module: 'esnext', moduleResolution: 'bundler', noEmit: true }, ['bundled.ts']),
    ),
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
}

const tsc = (folder, project) =>
  quiet(process.execPath, [commandOf('typescript', 'tsc'), '--project', project], { cwd: folder })

const oldestTsc = (folder, project) =>
  quiet(process.execPath, [tool('typescript-oldest', 'bin', 'tsc'), '--noEmit', '--project', project], { cwd: folder })

const bundle = (folder, ...options) =>
  quiet(process.execPath, [tool('esbuild', 'bin', 'esbuild'), '--bundle', '--platform=node', ...options], {
    cwd: folder,
  })

/** Builds before the programs run: title and work. */
export const PREPARATIONS = [
  ['TypeScript 5.0, the oldest that is supported', folder => oldestTsc(folder, 'node16.json')],
  ['TypeScript, node16 resolution', folder => tsc(folder, 'node16.json')],
  ['TypeScript, bundler resolution', folder => tsc(folder, 'bundler.json')],
  [
    'esbuild, the package left outside',
    folder => bundle(folder, 'bundled.ts', '--format=esm', '--outfile=outside.mjs', '--external:mlx-serving'),
  ],
  [
    'esbuild, the addon left outside',
    folder => bundle(folder, 'bundled.ts', '--format=cjs', '--outfile=inside.cjs', '--external:*.node'),
  ],
]

/** The programs that run on every version of Node. */
export const PROGRAMS = [
  ['ES module', ['ask.mjs']],
  ['CommonJS', ['ask.cjs']],
  ['worker thread', ['worker.mjs']],
  ['compiled TypeScript, ES module', ['compiled/typed.mjs']],
  ['compiled TypeScript, CommonJS', ['compiled/typed.cjs']],
  ['bundle without the package', ['outside.mjs']],
  ['bundle with the package', ['inside.cjs']],
]

/** For versions of Node that strip TypeScript themselves. */
export const STRIPPED = ['types stripped by Node', ['--experimental-strip-types', '--no-warnings', 'typed.mts']]
export const SINCE_STRIPPED = 22

/** Runs a program in the folder. Fails unless it answers and ends by itself. */
export async function run(folder, program, args, environment = process.env) {
  const said = await quiet(program, args, { cwd: folder, env: environment, timeout: TIME_LIMIT })
  if (!ANSWER.test(said)) throw new Failure(`${args.at(-1)} answered 20 + 3 with: ${said.trim()}`)
}
