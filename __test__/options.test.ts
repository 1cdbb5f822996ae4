// Every option of the engine's own table: a wrong value is an error that names the option or variable, and a right value
// takes effect.

import { totalmem } from 'node:os'
import { ConfigError, type ConfigValue, createEngine, type EngineConfig, type EngineOptions } from 'mlx-serving'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { failure, INSTANT } from './support.js'

beforeEach(() => {
  const ours = Object.keys(process.env).filter(name => name.startsWith('MLX_'))
  for (const name of ours) vi.stubEnv(name, undefined)
})
afterEach(() => vi.unstubAllEnvs())

/** The effective values of the options that are switches, numbers or names. */
async function configOf(options: EngineOptions = {}): Promise<EngineConfig> {
  const engine = await createEngine({ backend: { simulated: INSTANT }, ...options })
  const texts = ['backend', 'configFile', 'cache.promptCache.path', 'cache.prefixCache.path']
  const config = Object.entries(engine.config()).filter(([name]) => !texts.includes(name))
  await engine.dispose()
  return Object.fromEntries(config) as EngineConfig
}

/** Nested options: `{ a: { b: value } }` from 'a.b'. */
function nested(values: [string, unknown][]): EngineOptions {
  const options = {}
  for (const [name, value] of values) {
    let group: Record<string, unknown> = options
    const path = name.split('.')
    const last = path.pop() as string
    for (const key of path) {
      group[key] ??= {}
      group = group[key] as Record<string, unknown>
    }
    group[last] = value
  }
  return options
}

const isNumber = ({ min }: ConfigValue) => min !== undefined

/** The nearest numbers outside the range, below and above. */
function outside({ min = 0, max = 0 }: ConfigValue): [number, number] {
  return [min === 0 ? -Number.MIN_VALUE : min * (1 - Number.EPSILON), max * (1 + Number.EPSILON)]
}

/** 0, unless the option takes it. */
const zero = ({ min }: ConfigValue) => (min === 0 ? [] : [0])

/**
 * A value that differs from the default and does not contradict the defaults of other options: the smallest value of an option
 * that must be at most another one, or at most the memory of the machine; the largest value of any other number.
 */
function another(name: string, { value, min, max, names }: ConfigValue): boolean | number | string | undefined {
  const isLower = /\.(lowMs|mediumMs|minBatch|limitBytes)$/.test(name)
  if (names !== undefined) return names.find(other => other !== value)
  return typeof value === 'boolean' ? !value : isLower ? min : max
}

async function refused(name: string, options: EngineOptions): Promise<void> {
  const error = await failure(createEngine(options))
  expect(error, name).toBeInstanceOf(ConfigError)
  expect(error, error.message).toMatchObject({ code: 'ConfigError', param: name })
  expect(error.message).toContain(`\`${name}\` must be`)
}

test('the error about an option out of range or of another type names the option', async () => {
  for (const [name, option] of Object.entries(await configOf())) {
    const numbers = !isNumber(option) ? [0, 1] : [...outside(option), ...zero(option), -1, 1e300, true, false]
    const others = [Number.NaN, Number.POSITIVE_INFINITY, '', 'on', '1', [], [1], {}, 1n, Symbol('1'), () => 1]
    for (const value of [...numbers, ...others]) await refused(name, nested([[name, value]]))
  }
})

test('the error about a wrong variable names the variable', async () => {
  for (const option of Object.values(await configOf())) {
    if (option.variable === undefined) continue
    const others = !isNumber(option)
      ? ['2', 'yes', 'onn']
      : [...[...outside(option), ...zero(option)].map(String), '-1', 'on', '1e1', '0x5']
    for (const text of [...others, '', ' ', 'NaN', 'Infinity', '9'.repeat(400)]) {
      vi.stubEnv(option.variable, text)
      await refused(option.variable, {})
    }
    vi.stubEnv(option.variable, undefined)
  }
})

test('a count is a whole number', async () => {
  for (const name of [
    'scheduler.batchSize',
    'scheduler.maxPendingTokens',
    'memory.kvBytes',
    'streaming.bufferTokens',
  ]) {
    await refused(name, nested([[name, 4.5]]))
  }
  vi.stubEnv('MLX_AUTO_TUNE_INTERVAL', '7.5')
  await refused('MLX_AUTO_TUNE_INTERVAL', {})
})

test('each option takes effect', async () => {
  const values = Object.entries(await configOf()).map(
    ([name, option]) => [name, another(name, option)] as [string, unknown],
  )
  const config = await configOf(nested(values))
  for (const [name, value] of values) expect(config[name], name).toMatchObject({ value, source: 'option' })
})

test('the limit of the memory is at most what the process may use', async () => {
  const { value } = (await configOf())['memory.limitBytes']
  expect(value).toBe(Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem()))
  const config = await configOf({ memory: { limitBytes: 2 * Number(value) } })
  expect(config['memory.limitBytes']).toMatchObject({ value, source: 'option' })
})

test('the error about an unknown option names a similar one, or else all options of its group', async () => {
  const advice = async (options: object) => (await failure(createEngine(options as EngineOptions))).message
  expect(await advice({ loger: console })).toContain('did you mean `logger`?')
  expect(await advice({ configfile: 'a.yml' })).toContain('did you mean `configFile`?')
  expect(await advice({ maxPending: 4 })).toContain('did you mean `scheduler.maxPending`?')
  expect(await advice({ scheduler: { kvBytes: 4 } })).toContain('did you mean `memory.kvBytes`?')
  expect(await advice({ enabled: true })).toMatch(/known are .*backend, configFile, logger$/)
})

test('each variable takes effect', async () => {
  const before = Object.entries(await configOf()).filter(([, { variable }]) => variable !== undefined)
  for (const [name, option] of before) {
    const value = another(name, option)
    vi.stubEnv(option.variable as string, typeof value === 'boolean' ? (value ? 'ON' : 'Off') : ` ${value} `)
  }
  const config = await configOf()
  for (const [name, option] of before) {
    expect(config[name], name).toEqual({ ...option, value: another(name, option), source: 'environment' })
  }
})

test('the established variables keep their names, defaults and ranges', async () => {
  const byVariable = Object.values(await configOf()).filter(({ variable }) => !variable?.startsWith('MLX_SERVING_'))
  expect(byVariable.map(({ variable, value, min, max }) => [variable, value, min, max])).toEqual([
    ['MLX_GPU_SCHEDULER', true, undefined, undefined],
    ['MLX_GPU_SCHEDULER_WINDOW_MS', 1, 0.5, 5],
    ['MLX_GPU_SCHEDULER_BATCH_SIZE', 4, 1, 64],
    ['MLX_GPU_SCHEDULER_P99_THRESHOLD_MS', 100, 50, 500],
    ['MLX_FAST_PATH', true, undefined, undefined],
    ['MLX_ADAPTIVE_WINDOW', true, undefined, undefined],
    ['MLX_ADAPTIVE_WINDOW_LOW_MS', 0.75, 0.5, 2],
    ['MLX_ADAPTIVE_WINDOW_MEDIUM_MS', 1, 0.75, 3],
    ['MLX_ADAPTIVE_WINDOW_HIGH_MS', 2, 1, 5],
    ['MLX_ADAPTIVE_WINDOW_HYSTERESIS', 3, 1, 10],
    ['MLX_ADAPTIVE_WINDOW_EMA_ALPHA', 0.5, 0.1, 0.9],
    ['MLX_AUTO_TUNE', true, undefined, undefined],
    ['MLX_AUTO_TUNE_MIN_BATCH', 2, 1, 8],
    ['MLX_AUTO_TUNE_MAX_BATCH', 32, 4, 64],
    ['MLX_AUTO_TUNE_EMA_ALPHA', 0.3, 0.1, 0.9],
    ['MLX_AUTO_TUNE_INTERVAL', 10, 5, 20],
    ['MLX_REQUEST_COALESCING_ENABLED', true, undefined, undefined],
    ['MLX_REQUEST_DEDUP_ENABLED', true, undefined, undefined],
    ['MLX_REQUEST_DEDUP_TTL_MS', 1000, 1, 604_800_000],
    ['MLX_PROMPT_CACHE_ENABLED', true, undefined, undefined],
    ['MLX_PROMPT_CACHE_TTL_MS', 300_000, 1, 604_800_000],
    ['MLX_PROMPT_CACHE_MAX_ENTRIES', 10_000, 1, 1_000_000],
    ['MLX_PROMPT_CACHE_MAX_BYTES', 104_857_600, 1, 2 ** 40],
    ['MLX_METRICS_EXPORT', true, undefined, undefined],
    ['MLX_WORKER_COUNT', 1, 1, 8],
  ])
})

test('the other options have variables that begin with MLX_SERVING_', async () => {
  const own = Object.entries(await configOf()).filter(([, { variable }]) => variable?.startsWith('MLX_SERVING_'))
  expect(Object.fromEntries(own.map(([name, { variable }]) => [name, variable]))).toEqual({
    preset: 'MLX_SERVING_PRESET',
    'scheduler.maxPending': 'MLX_SERVING_MAX_PENDING',
    'scheduler.maxPendingTokens': 'MLX_SERVING_MAX_PENDING_TOKENS',
    'scheduler.maxWaitMs': 'MLX_SERVING_MAX_WAIT_MS',
    'scheduler.prefillChunkTokens': 'MLX_SERVING_PREFILL_CHUNK_TOKENS',
    'scheduler.interTokenStretch': 'MLX_SERVING_INTER_TOKEN_STRETCH',
    'scheduler.ageingMs': 'MLX_SERVING_AGEING_MS',
    'scheduler.deterministic': 'MLX_SERVING_DETERMINISTIC',
    precision: 'MLX_SERVING_PRECISION',
    'memory.kvBytes': 'MLX_SERVING_KV_BYTES',
    'memory.limitBytes': 'MLX_SERVING_LIMIT_BYTES',
    'streaming.bufferTokens': 'MLX_SERVING_BUFFER_TOKENS',
    'streaming.parkTimeoutMs': 'MLX_SERVING_PARK_TIMEOUT_MS',
    'cache.coalescing.maxSubscribers': 'MLX_SERVING_COALESCING_MAX_SUBSCRIBERS',
    'cache.dedup.maxEntries': 'MLX_SERVING_DEDUP_MAX_ENTRIES',
    'cache.prefixCache.enabled': 'MLX_SERVING_PREFIX_CACHE_ENABLED',
    'cache.prefixCache.maxDiskBytes': 'MLX_SERVING_PREFIX_CACHE_MAX_DISK_BYTES',
    'cache.prefixCache.maxTokens': 'MLX_SERVING_PREFIX_CACHE_MAX_TOKENS',
    'cache.prefixCache.maxPinnedPercent': 'MLX_SERVING_PREFIX_CACHE_MAX_PINNED_PERCENT',
    'cache.prefixCache.minTokens': 'MLX_SERVING_PREFIX_CACHE_MIN_TOKENS',
    'cache.promptCache.maxTokens': 'MLX_SERVING_PROMPT_CACHE_MAX_TOKENS',
    'modelLifecycle.idleUnloadMs': 'MLX_SERVING_IDLE_UNLOAD_MS',
    'modelLifecycle.evict': 'MLX_SERVING_EVICT',
    'modelLifecycle.drainMs': 'MLX_SERVING_DRAIN_MS',
    'modelLifecycle.warmup': 'MLX_SERVING_WARMUP',
    'modelLifecycle.prefetch.enabled': 'MLX_SERVING_PREFETCH_ENABLED',
    'modelLifecycle.prefetch.minConfidence': 'MLX_SERVING_PREFETCH_MIN_CONFIDENCE',
    'modelLifecycle.prefetch.maxModels': 'MLX_SERVING_PREFETCH_MAX_MODELS',
    'retry.enabled': 'MLX_SERVING_RETRY_ENABLED',
    'retry.maxAttempts': 'MLX_SERVING_RETRY_MAX_ATTEMPTS',
    'retry.initialDelayMs': 'MLX_SERVING_RETRY_INITIAL_DELAY_MS',
    'retry.maxDelayMs': 'MLX_SERVING_RETRY_MAX_DELAY_MS',
    'circuitBreaker.enabled': 'MLX_SERVING_CIRCUIT_BREAKER_ENABLED',
    'circuitBreaker.failures': 'MLX_SERVING_CIRCUIT_BREAKER_FAILURES',
    'circuitBreaker.windowMs': 'MLX_SERVING_CIRCUIT_BREAKER_WINDOW_MS',
    'circuitBreaker.openMs': 'MLX_SERVING_CIRCUIT_BREAKER_OPEN_MS',
    'health.stuckAfterMs': 'MLX_SERVING_HEALTH_STUCK_AFTER_MS',
    'workers.replaceStuck': 'MLX_SERVING_WORKERS_REPLACE_STUCK',
    'workers.routing': 'MLX_SERVING_WORKERS_ROUTING',
    'workers.sticky': 'MLX_SERVING_WORKERS_STICKY',
  })
})
