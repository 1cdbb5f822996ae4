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

/** Through the provider of the AI SDK, without the AI SDK: the entry and its types need no other package. */
const PROVIDER = `
async function ask() {
  const { content } = await mlx().doGenerate({ prompt: [{ role: 'user', content: [{ type: 'text', text: 'What is 20 + 3?' }] }] })
  for (const part of content) if (part.type === 'text') console.log(part.text)
}
ask()
`

/** Through the server, which the program closes. */
const SERVER = `
async function ask() {
  const server = await serve({ port: 0 })
  const body = JSON.stringify({ messages: [{ role: 'user', content: 'What is 20 + 3?' }] })
  const response = await fetch(server.url + '/v1/chat/completions', { method: 'POST', body })
  console.log(await response.text())
  await server.close()
}
ask()
`

/** With OpenTelemetry's API, whose provider is replaced by one that keeps the names of spans. */
const traced = (from, annotation) => `${from('trace', '@opentelemetry/api')}
${from('createEngine', 'mlx-serving')}
${from('instrument', 'mlx-serving/otel')}
const names${annotation('string[]')} = []
const startSpan = (name${annotation('string')}) => {
  names.push(name)
  return trace.wrapSpanContext({ traceId: '0'.repeat(32), spanId: '0'.repeat(16), traceFlags: 0 })
}
const tracer = trace.getTracer('kept')
trace.setGlobalTracerProvider({ getTracer: () => Object.assign(tracer, { startSpan }) })
async function ask() {
  const engine = await createEngine()
  instrument(engine)
  const model = await engine.loadModel()
  const { text } = await engine.generate({ model, messages: [${QUESTION}], temperature: 0 })
  console.log(names.includes('prefill') ? text : 'spans: ' + names)
}
ask()
`
const IMPORT = (name, module) => `import { ${name} } from '${module}'`
const REQUIRE = (name, module) => `const { ${name} } = require('${module}')`
const UNTYPED = () => ''
const TYPES = type => `: ${type}`

const WORKER = `
import { Worker } from 'node:worker_threads'
new Worker(new URL('ask.mjs', import.meta.url)).on('error', error => { throw error })
`

const TYPED_PROGRAMS = ['typed.mts', 'typed.cts', 'provided.mts', 'provided.cts', 'served.mts', 'served.cts']

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
    'provider.mjs': `import { mlx } from 'mlx-serving/ai-sdk'\n${PROVIDER}`,
    'provider.cjs': `const { mlx } = require('mlx-serving/ai-sdk')\n${PROVIDER}`,
    'provided.mts': `import { mlx } from 'mlx-serving/ai-sdk'\n${PROVIDER}`,
    'provided.cts': `import { mlx } from 'mlx-serving/ai-sdk'\n${PROVIDER}`,
    'served.mjs': `import { serve } from 'mlx-serving/server'\n${SERVER}`,
    'served.cjs': `const { serve } = require('mlx-serving/server')\n${SERVER}`,
    'served.mts': `import { serve } from 'mlx-serving/server'\n${SERVER}`,
    'served.cts': `import { serve } from 'mlx-serving/server'\n${SERVER}`,
    'traced.mjs': traced(IMPORT, UNTYPED),
    'traced.cjs': traced(REQUIRE, UNTYPED),
    'traced.mts': traced(IMPORT, TYPES),
    'traced.cts': traced(IMPORT, TYPES),
    'typed.mts': TYPED,
    'typed.cts': TYPED,
    'bundled.ts': TYPED,
    'node16.json': JSON.stringify(tsconfig({ module: 'node16', outDir: 'compiled' }, TYPED_PROGRAMS)),
    'traced.json': JSON.stringify(tsconfig({ module: 'node16', noEmit: true }, ['traced.mts', 'traced.cts'])),
    'bundler.json': JSON.stringify(
      tsconfig({ module: 'esnext', moduleResolution: 'bundler', noEmit: true }, ['bundled.ts', 'provided.mts']),
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
  ['AI SDK provider, ES module', ['provider.mjs']],
  ['AI SDK provider, CommonJS', ['provider.cjs']],
  ['server, ES module', ['served.mjs']],
  ['server, CommonJS', ['served.cjs']],
  ['bundle without the package', ['outside.mjs']],
  ['bundle with the package', ['inside.cjs']],
  ['command line', ['node_modules/mlx-serving/dist/cli/main.js', 'run', '--temperature', '0', 'What is 20 + 3?']],
]

/** What needs OpenTelemetry's API beside the package. */
export const TRACING = {
  packages: ['mlx-serving', '@opentelemetry/api'],
  preparations: [['TypeScript, mlx-serving/otel', folder => tsc(folder, 'traced.json')]],
  programs: [
    ['spans, ES module', ['traced.mjs']],
    ['spans, CommonJS', ['traced.cjs']],
  ],
}

/** For versions of Node that strip TypeScript themselves. */
export const STRIPPED = ['types stripped by Node', ['--experimental-strip-types', '--no-warnings', 'typed.mts']]
export const SINCE_STRIPPED = 22

/** Runs a program in the folder. Fails unless it answers and ends by itself. */
export async function run(folder, program, args, environment = process.env) {
  const said = await quiet(program, args, { cwd: folder, env: environment, timeout: TIME_LIMIT })
  if (!ANSWER.test(said)) throw new Failure(`${args.at(-1)} answered 20 + 3 with: ${said.trim()}`)
}
