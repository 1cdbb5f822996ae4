// The runtime file: each key sets its option, the file has its place among the sources, and everything wrong in it is an error
// with file and line.

import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { type ConfigValue, createEngine } from 'mlx-serving'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { configOf, folder, runtimeFile, SCHEMA } from './runtimefile.js'
import { failure, inNode } from './support.js'

const BATCH = 'scheduler.batchSize'
const VARIABLE = 'MLX_RUNTIME_CONFIG'

beforeEach(() => {
  const ours = Object.keys(process.env).filter(name => name.startsWith('MLX_') || name === 'NODE_ENV')
  for (const name of ours) vi.stubEnv(name, undefined)
})
afterEach(() => vi.unstubAllEnvs())

interface Schema {
  readonly properties?: Record<string, Schema>
  readonly enum?: readonly unknown[]
  readonly minimum?: number
  readonly maximum?: number
  readonly default?: unknown
}

/** The keys of a runtime file with their schemas. */
function keysOf({ properties = {} }: Schema, prefix = ''): [string, Schema][] {
  return Object.entries(properties).flatMap(([name, inner]) =>
    inner.properties ? keysOf(inner, `${prefix}${name}.`) : [[`${prefix}${name}`, inner] as [string, Schema]],
  )
}

const KEYS = keysOf(SCHEMA as Schema).filter(([key]) => key !== 'environments')

/** A value that differs from the default and does not contradict the defaults of other options. */
function another(key: string, { enum: names, minimum, maximum, default: standard }: Schema): unknown {
  if (names) return names.find(name => name !== standard && name !== null)
  if (minimum === undefined) return 'answers'
  return /(low_ms|medium_ms|min_batch\w*|limit_bytes)$/.test(key) ? minimum : maximum
}

/** Nested sections as YAML: `a:\n  b: value` from 'a.b'. */
function yaml(key: string, value: unknown): string {
  const lines = key.split('.').map((name, depth) => `${'  '.repeat(depth)}${name}:`)
  return `# a comment\n${lines.join('\n')} ${value}\n`
}

describe('a value', () => {
  test('has the file and the line as its source, and the file is shown as well', async () => {
    const file = await runtimeFile('\n# tuned\nscheduler:\n  batch_size: 8\n')
    const config = await configOf({ configFile: file })
    expect(config[BATCH]).toMatchObject({ value: 8, source: 'file', file, line: 4 })
    expect(config.configFile).toEqual({ value: file, source: 'option', variable: VARIABLE })
    expect(config['scheduler.windowMs']).not.toHaveProperty('line')
  })

  test('of every key sets one option', async () => {
    expect(KEYS.length).toBeGreaterThan(40)
    const before = await configOf()
    for (const [key, schema] of KEYS) {
      const value = another(key, schema)
      const file = await runtimeFile(yaml(key, value))
      const config = await configOf({ configFile: file })
      const changed = Object.keys(config).filter(name => config[name].source === 'file')
      expect(changed, key).toHaveLength(1)
      const line = 1 + key.split('.').length
      const expected = value === 'answers' ? path.join(path.dirname(file), 'answers') : value
      expect(config[changed[0]], key).toMatchObject({ value: expected, file, line })
      expect(config[changed[0]].value).not.toEqual(before[changed[0]].value)
    }
  })

  test('out of range or of another type is refused by its key and line', async () => {
    for (const [key, { minimum, maximum }] of KEYS) {
      const numbers = minimum === undefined ? [1] : [minimum - 1, (maximum ?? 0) * 1.5, '.nan', '.inf', "'5'", 'true']
      for (const value of [...numbers, '[]', '[1]', '{ a: { b: 1 } }', "''"]) {
        const file = await runtimeFile(yaml(key, value))
        const error = await failure(createEngine({ configFile: file }))
        const line = 1 + key.split('.').length
        expect(error, `${key}: ${value}`).toMatchObject({ code: 'ConfigError' })
        expect(error.message).toMatch(new RegExp(`^\`${key}[\`.]`))
        expect(error.message).toContain(`(${file}:${line})`)
      }
    }
  })

  test('may be missing: the key or the section is left out', async () => {
    for (const text of ['', '\n', '# nothing\n', '---\n', '{}', 'scheduler:\n', 'scheduler: {}\n', 'preset: ~\n']) {
      const config = await configOf({ configFile: await runtimeFile(text) })
      expect(Object.values(config).filter(({ source }) => source === 'file')).toEqual([])
    }
  })

  test('of a switch may be on or off', async () => {
    const read = async (text: string) =>
      (await configOf({ configFile: await runtimeFile(`scheduler:\n  fast_path: ${text}\n`) }))['scheduler.fastPath']
        .value
    for (const text of ['off', 'OFF', "'off'", 'false', 'False']) expect(await read(text), text).toBe(false)
    for (const text of ['on', 'On', 'true']) expect(await read(text), text).toBe(true)
    for (const text of ['no', '0', 'disabled']) await expect(read(text), text).rejects.toThrow(/must be true or false/)
  })
})

describe('precedence', () => {
  const source = ({ value, source }: ConfigValue) => ({ value, source })

  test('a file overrides the preset, a variable the file, and an option the variable', async () => {
    const configFile = await runtimeFile('preset: throughput\nscheduler:\n  window_ms: 3\n')
    expect((await configOf({ configFile }))[BATCH]).toMatchObject({ value: 8, source: 'preset' })
    expect((await configOf({ configFile, preset: 'latency' }))[BATCH]).toMatchObject({ value: 2, source: 'preset' })
    const window = async (windowMs?: number) =>
      source((await configOf({ configFile, scheduler: { windowMs } }))['scheduler.windowMs'])
    expect(await window()).toEqual({ value: 3, source: 'file' })
    vi.stubEnv('MLX_GPU_SCHEDULER_WINDOW_MS', '4')
    expect(await window()).toEqual({ value: 4, source: 'environment' })
    expect(await window(5)).toEqual({ value: 5, source: 'option' })
  })

  test('a variable names the file, and an option another one', async () => {
    const [first, second] = [await runtimeFile('preset: latency'), await runtimeFile('preset: throughput')]
    vi.stubEnv(VARIABLE, first)
    expect(await configOf()).toMatchObject({
      preset: { value: 'latency', source: 'file', file: first, line: 1 },
      configFile: { value: first, source: 'environment', variable: VARIABLE },
    })
    expect(await configOf({ configFile: second })).toMatchObject({
      preset: { value: 'throughput', source: 'file', file: second },
      configFile: { value: second, source: 'option' },
    })
    vi.stubEnv(VARIABLE, undefined)
    expect((await configOf()).configFile).toEqual({ source: 'default', variable: VARIABLE })
  })

  test('values for an environment override those for all', async () => {
    const text = `environments:
  production:
    scheduler: { batch_size: 6 }
    prompt_cache: { path: answers }
    cache: { prefix_cache: { path: kv } }
  test:
scheduler:
  batch_size: 3
prompt_cache:
  path: others
`
    const configFile = await runtimeFile(text)
    const read = async () => {
      const config = await configOf({ configFile })
      const { [BATCH]: batch, 'cache.promptCache.path': file, 'cache.prefixCache.path': kv } = config
      const name = ({ value }: { value?: unknown }) => value && path.basename(`${value}`)
      return [batch.value, batch.line, name(file), file.line, name(kv)]
    }
    expect(await read()).toEqual([3, 8, 'others', 10, undefined])
    vi.stubEnv('NODE_ENV', 'production')
    expect(await read()).toEqual([6, 3, 'answers', 4, 'kv'])
    vi.stubEnv('NODE_ENV', 'test')
    expect(await read()).toEqual([3, 8, 'others', 10, undefined])
  })

  test('the error about contradicting options names the line', async () => {
    const configFile = await runtimeFile('scheduler:\n  auto_tune: { min_batch: 8 }\n')
    const error = await failure(createEngine({ configFile, scheduler: { autoTune: { maxBatch: 4 } } }))
    expect(error.message).toBe(
      `\`scheduler.auto_tune.min_batch\` (8, ${configFile}:2) must not be above \`scheduler.autoTune.maxBatch\` (4, option)`,
    )
  })
})

test('a deprecated key takes effect and causes one process warning', async () => {
  const file = await runtimeFile('continuous_batching:\n  max_batch_size: 8\n')
  const script = `
    import { createEngine } from 'mlx-serving'
    const warnings = []
    process.on('warning', ({ message, name, code }) => warnings.push({ message, name, code }))
    const open = () => createEngine({ backend: { simulated: 'instant' }, configFile: ${JSON.stringify(file)} })
    const engines = [await open(), await open()]
    const { value, source } = engines[0].config()['scheduler.batchSize']
    for (const engine of engines) await engine.dispose()
    console.log(JSON.stringify({ value, source, warnings }))`
  const { stdout, stderr, code } = await inNode(script, 'module', ['--no-warnings'])
  expect(code, stderr).toBe(0)
  expect(JSON.parse(stdout)).toEqual({
    value: 8,
    source: 'file',
    warnings: [
      {
        message:
          'the key `continuous_batching.max_batch_size` of a runtime file is deprecated; use `scheduler.batch_size`',
        name: 'MlxServingWarning',
        code: 'DeprecatedKey',
      },
    ],
  })
})

describe('an unknown key', () => {
  const refused = async (text: string) => {
    const file = await runtimeFile(text)
    const { code, message, param } = await failure(createEngine({ configFile: file }))
    expect(code).toBe('ConfigError')
    return [message.replace(file, 'runtime.yaml'), param]
  }

  test.each([
    ['scheduler:\n  batchSize: 4\n', 2, 'scheduler.batchSize', 'scheduler.batch_size'],
    [
      'preset: latency\nprompt_cache:\n  enabled: on\n  max_entires: 5\n',
      4,
      'prompt_cache.max_entires',
      'prompt_cache.max_entries',
    ],
    ['batch_size: 4', 1, 'batch_size', 'scheduler.batch_size'],
    ['request_dedup: { enabled: off }', 1, 'request_dedup.enabled', 'cache.dedup.enabled'],
    ['environments:\n  staging:\n    presets: latency', 3, 'environments.staging.presets', 'preset'],
    ['scheduler:\n  batch_siz:\n', 2, 'scheduler.batch_siz', 'scheduler.batch_size'],
    ['constructor: 1', 1, 'constructor', undefined],
    ['__proto__: { preset: latency }', 1, '__proto__.preset', 'preset'],
  ])('%j names the nearest known one', async (text, line, key, nearest) => {
    const [message, param] = await refused(text)
    const beginning = `\`${key}\` is not a key of a runtime file; the nearest known key is \`${nearest ?? ''}`
    expect(param).toBe(key)
    expect(message).toContain(beginning)
    expect(message).toMatch(new RegExp(`\`[\\w.]+\` \\(runtime.yaml:${line}\\)$`))
  })

  test('a section with a value in place of its keys is refused', async () => {
    expect(await refused('scheduler: 4')).toEqual([
      '`scheduler` must be a section with keys, not 4 (runtime.yaml:1)',
      'scheduler',
    ])
    expect((await refused('scheduler: [batch_size]'))[0]).toContain('must be a section with keys, not a list')
    expect((await refused('environments: production'))[0]).toContain('has `environments`, which must be a section')
  })
})

describe('a file that is wrong as a whole', () => {
  const refused = async (configFile: unknown) => {
    const error = await failure(createEngine({ configFile } as object))
    expect(error).toMatchObject({ name: 'ConfigError', code: 'ConfigError' })
    return error.message
  }

  test.each([1, true, {}, [], '', ' ', 'a\0b', Symbol('x')])('the path %o is refused', async value => {
    expect(await refused(value)).toMatch(/^`configFile` must be the path of a file, not /)
  })

  test('an empty variable is refused, also if an option names a file', async () => {
    vi.stubEnv(VARIABLE, ' ')
    const error = await failure(createEngine({ configFile: await runtimeFile('') }))
    expect(error).toMatchObject({ code: 'ConfigError', param: VARIABLE })
  })

  test('a file that cannot be read is refused', async () => {
    const parent = await folder()
    expect(await refused(path.join(parent, 'none.yaml'))).toMatch(
      /^`configFile` names a file that cannot be read, .*ENOENT/,
    )
    await mkdir(path.join(parent, 'folder'))
    expect(await refused(path.join(parent, 'folder'))).toMatch(/it is not a file$/)
    expect(await refused('/dev/zero')).toMatch(/it is not a file$/)
  })

  test.each([
    ['a tab', 'scheduler:\n\tbatch_size: 4\n', 2],
    ['an open bracket', 'preset: [latency\n', 2],
    ['a key that stands twice', 'preset: latency\n\npreset: balanced\n', 3],
    ['two documents', 'preset: latency\n---\npreset: latency\n', 2],
    ['a list', '- preset\n', 1],
    ['a text', 'latency\n', 1],
    ['an unknown tag', 'preset: !!python/object latency\n', 1],
    ['an alias', 'preset: &a latency\nscheduler: { fast_path: *a }\n', 2],
    ['a merged section', 'scheduler: &a { fast_path: off }\nstreaming:\n  <<: *a\n', 3],
    ['an alias of an unknown anchor', 'preset: *nothing\n', 1],
    ['a key that is a section', '? { a: 1 }\n: 2\n', 1],
    ['a key that is a number', '1: 2\n', 1],
    ['a key with a dot', 'scheduler.batch_size: 4\n', 1],
    ['an anchor in itself', 'scheduler: &a [*a]\n', 1],
  ])('%s is refused with its line', async (_, text, line) => {
    const file = await runtimeFile(text)
    expect(await refused(file)).toContain(`(${file}:${line})`)
  })

  test('a file that is too large, nested too deep or not text is refused', async () => {
    expect((await configOf({ configFile: await runtimeFile('#'.repeat(65_536)) })).preset.source).toBe('default')
    expect(await refused(await runtimeFile('#'.repeat(65_537)))).toMatch(/has more than 65536 bytes/)
    expect(await refused(await runtimeFile('['.repeat(60_000)))).toMatch(/is not valid YAML/)
    expect(await refused(await runtimeFile('{a: '.repeat(10_000)))).toMatch(/is not valid YAML/)
    expect(await refused(await runtimeFile(`${'{a: '.repeat(9)}1${'}'.repeat(9)}`))).toMatch(
      /`a.a.a.a.a.a.a.a` is not a key/,
    )
    expect(await refused(await runtimeFile(Uint8Array.of(0xff, 0xfe)))).toMatch(/is not text in UTF-8/)
    const bomb = Array.from({ length: 20 }, (_, n) => `a${n + 1}: &a${n + 1} [${`*a${n},`.repeat(9)}]`)
    expect(await refused(await runtimeFile(`a0: &a0 [x]\n${bomb.join('\n')}\n`))).toMatch(/is not a key|alias/)
  })

  test('a refused file does not affect the next engine', async () => {
    await refused(await runtimeFile('presets: latency'))
    expect(await configOf({ configFile: await runtimeFile('\ufeffpreset: latency\r\n') })).toMatchObject({
      preset: { value: 'latency', source: 'file', line: 1 },
    })
  })
})
