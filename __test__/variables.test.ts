// Environment variables with the prefix of this package: each option has one, and an unknown one causes a process warning.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createEngine } from 'mlx-serving'
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { failure, INSTANT, inNode, M3_MAX, simulated } from './support.js'

const PATH = 'MLX_SERVING_PROMPT_CACHE_PATH'

beforeEach(() => {
  const ours = Object.keys(process.env).filter(name => name.startsWith('MLX_'))
  for (const name of ours) vi.stubEnv(name, undefined)
})
afterEach(() => vi.unstubAllEnvs())

const configOf = async (options = {}) => (await simulated(INSTANT, options)).engine.config()

async function folder(): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  onTestFinished(() => rm(made, { recursive: true }))
  return made
}

/** The warnings of a process that starts two engines with these variables. */
async function warned(variables: NodeJS.ProcessEnv): Promise<{ message: string; name: string; code: string }[]> {
  const script = `
    import { createEngine } from 'mlx-serving'
    const warnings = []
    process.on('warning', ({ message, name, code }) => warnings.push({ message, name, code }))
    for (let n = 0; n < 2; n++) await (await createEngine({ backend: { simulated: 'instant' } })).dispose()
    console.log(JSON.stringify(warnings))`
  const { stdout, stderr, code } = await inNode(script, 'module', ['--no-warnings'], variables)
  expect(code, stderr).toBe(0)
  return JSON.parse(stdout)
}

test('every option but the backend has a variable', async () => {
  const without = Object.entries(await configOf()).filter(([, { variable }]) => variable === undefined)
  expect(without.map(([name]) => name)).toEqual(['backend'])
})

test('a variable without an established name is named like its option', async () => {
  const config = await configOf()
  const own = Object.entries(config).filter(([, { variable }]) => variable?.startsWith('MLX_SERVING_'))
  for (const [name, { variable }] of own) {
    const rest = name.replace(/^(scheduler|memory|streaming|cache|modelLifecycle)\./, '')
    const words = rest.replaceAll('.', '_').replace(/[A-Z]/g, letter => `_${letter}`)
    expect(variable).toBe(`MLX_SERVING_${words.toUpperCase()}`)
  }
  expect(own.length).toBeGreaterThan(10)
})

test('an unknown variable causes one process warning with a similar name, if there is one', async () => {
  const warnings = await warned({ MLX_SERVING_MAX_PENDNG: '4', MLX_SERVING_BATCH_SIZE: '2', MLX_SERVING_LOG: '1' })
  const warning = (name: string, advice: string) => ({
    message: `the environment variable \`${name}\` is unknown and has no effect; ${advice}`,
    name: 'MlxServingWarning',
    code: 'UnknownVariable',
  })
  expect(warnings).toHaveLength(3)
  expect(warnings).toContainEqual(warning('MLX_SERVING_MAX_PENDNG', 'did you mean `MLX_SERVING_MAX_PENDING`?'))
  expect(warnings).toContainEqual(warning('MLX_SERVING_BATCH_SIZE', 'did you mean `MLX_GPU_SCHEDULER_BATCH_SIZE`?'))
  expect(warnings).toContainEqual(warning('MLX_SERVING_LOG', '`engine.config()` has the known ones'))
})

test('variables of the options, of the build and of other programs cause no warning', async () => {
  const variables = {
    MLX_SERVING_PRESET: 'latency',
    MLX_SERVING_KV_BYTES: '1000000',
    MLX_SERVING_CACHE_DIR: 'none',
    MLX_SERVING_TOOLCHAIN: 'none',
    MLX_METAL_DEBUG: '1',
    MLX_GPU_SCHEDULER_BATCHSIZE: '3',
    OTHER_SERVING_PRESET: 'x',
  }
  expect(await warned(variables)).toEqual([])
})

test('a variable sets the preset, and an option overrides it', async () => {
  vi.stubEnv('MLX_SERVING_PRESET', ' Throughput ')
  expect(await configOf()).toMatchObject({
    preset: { value: 'throughput', source: 'environment', variable: 'MLX_SERVING_PRESET' },
    'scheduler.batchSize': { value: 8, source: 'preset' },
  })
  expect(await configOf({ preset: 'latency' })).toMatchObject({
    preset: { value: 'latency', source: 'option' },
    'scheduler.batchSize': { value: 2, source: 'preset' },
  })
})

test.each(['', ' ', 'fast', '1'])('the preset %j of a variable is refused', async text => {
  vi.stubEnv('MLX_SERVING_PRESET', text)
  expect(await failure(createEngine({ preset: 'latency' }))).toMatchObject({
    code: 'ConfigError',
    param: 'MLX_SERVING_PRESET',
    message: `\`MLX_SERVING_PRESET\` must be 'latency', 'balanced' or 'throughput', not '${text}'`,
  })
})

test('a variable sets the limit of pending requests', async () => {
  vi.stubEnv('MLX_SERVING_MAX_PENDING', '2')
  const { engine, model } = await simulated(M3_MAX)
  const ask = () => engine.generate({ model, prompt: 'Hello', maxTokens: 4 })
  const ends = await Promise.allSettled([ask(), ask(), ask()])
  expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected'])
})

test.each([
  ['promptCache', PATH],
  ['prefixCache', 'MLX_SERVING_PREFIX_CACHE_PATH'],
])('a variable sets the path of %s, and an option overrides it', async (cache, variable) => {
  const [first, second] = await Promise.all(['first', 'second'].map(async name => path.join(await folder(), name)))
  const option = `cache.${cache}.path`
  vi.stubEnv(variable, first)
  expect((await configOf())[option]).toEqual({ value: first, source: 'environment', variable })
  const options = { cache: { [cache]: { path: second } } }
  expect((await configOf(options))[option]).toEqual({ value: second, source: 'option', variable })
  vi.stubEnv(variable, undefined)
  expect((await configOf())[option]).toEqual({ source: 'default', variable })
})

test.each(['', ' '])('the path %j of a variable is refused', async text => {
  vi.stubEnv(PATH, text)
  const error = await failure(createEngine({ cache: { promptCache: { path: 'answers' } } }))
  expect(error).toMatchObject({ code: 'ConfigError', param: PATH })
  expect(error.message).toBe(`\`${PATH}\` must be the path of a file, not ''`)
})
