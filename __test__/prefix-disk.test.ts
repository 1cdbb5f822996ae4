// The disk tier of the prefix cache: the next engine uses KV of an earlier one, with the same answers. Damaged files
// cause a warning and do not change an answer.

import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { DiskCacheStats, EngineOptions, GenerateParams, GenerateResult } from 'mlx-serving'
import { createEngine } from 'mlx-serving'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  failure,
  IN_FLOAT32,
  IN_OWN_PRECISION,
  inNode,
  M3_MAX,
  ON_MLX,
  type OnMlx,
  type Ready,
  SHARING_PREFIXES,
  simulated,
  UNSHARED,
  until,
} from './support.js'

/** Positions of a block, each of which has a file. */
const BLOCK = 256

const tokens = (count: number, first = 0) =>
  Array.from({ length: count }, (_, at) => 10 + ((first * 13 + at * 7) % 250))
const prompt = (count: number, own = 1, first = 0) => ({ tokens: [...tokens(count, first), ...tokens(9, own)] })

function folder(): string {
  const made = mkdtempSync(path.join(tmpdir(), 'prefixes-'))
  onTestFinished(() => {
    chmodSync(made, 0o700)
    rmSync(made, { recursive: true, force: true })
  })
  return path.join(made, 'kv')
}

const keeping = (path: string, options: object = {}): EngineOptions => ({
  ...SHARING_PREFIXES,
  cache: { ...SHARING_PREFIXES.cache, prefixCache: { path, ...options } },
})

const diskOf = ({ engine }: Ready) => engine.stats().cache.disk as DiskCacheStats
const files = (path: string) => readdirSync(path).filter(name => name.endsWith('.kv.safetensors'))
const ask = ({ engine, model }: Ready, params: Omit<GenerateParams, 'model'>, options = {}) =>
  engine.generate({ temperature: 0, maxTokens: 8, ignoreEos: true, ...params, model } as GenerateParams, options)
const cached = async (ready: Ready, params: Omit<GenerateParams, 'model'>) =>
  (await ask(ready, params)).usage.cachedInputTokens

type Open = (options: EngineOptions) => Promise<Ready>
const openSimulated: Open = options => simulated(M3_MAX, options)

/** An engine that has answered a prompt and is shut down. */
async function fill(
  path: string,
  open: Open = openSimulated,
  params: Omit<GenerateParams, 'model'> = { prompt: prompt(600) } as never,
): Promise<GenerateResult> {
  const ready = await open(keeping(path))
  const result = await ask(ready, params)
  await ready.engine.shutdown()
  return result
}

/** The process warnings while the work runs. */
async function warningsOf(work: () => Promise<unknown>): Promise<string[]> {
  const warnings: string[] = []
  const listen = (warning: Error) => warnings.push(warning.message)
  process.on('warning', listen)
  await work()
  await new Promise(setImmediate)
  process.off('warning', listen)
  return warnings
}

describe.each(ON_MLX)('with %s', (name, openMlx) => {
  // A CPU reads about 50 tokens a second with quantized weights.
  const blocks = name.includes('4-bit') ? 1 : 2
  const count = blocks * BLOCK + 20

  test('the next engine starts with KV of the disk, and answers are the same', async () => {
    const at = folder()
    const params = { prompt: prompt(count) }
    const expected = await fill(at, openMlx, params)
    expect(files(at)).toHaveLength(blocks)
    const kept = await openMlx(keeping(at))
    const found = await ask(kept, params)
    expect(found.tokens).toEqual(expected.tokens)
    expect(expected.usage.cachedInputTokens).toBe(0)
    expect(found.usage.cachedInputTokens).toBe(blocks * BLOCK)
    const reused = { hits: 1, reads: blocks, tokensReused: blocks * BLOCK, errors: 0 }
    expect(diskOf(kept)).toMatchObject(reused)
    if (blocks === 1) return
    expect(await cached(kept, { prompt: { tokens: tokens(BLOCK, 3) } })).toBe(0)
    expect(diskOf(kept)).toMatchObject({ ...reused, misses: 1 })
  })
})

test('bits are equal with KV of the disk where attention is fused', async () => {
  const at = folder()
  const [, openMlx] = IN_FLOAT32
  const deterministic = { scheduler: { deterministic: true } }
  await fill(at, options => openMlx({ ...options, ...deterministic }))
  const [kept, alone] = await Promise.all([
    openMlx({ ...keeping(at), ...deterministic }),
    openMlx({ ...UNSHARED, ...deterministic }),
  ])
  const params = { prompt: prompt(530, 4), logprobs: 5, maxTokens: 20 }
  const [found, expected] = await Promise.all([kept, alone].map(ready => ask(ready, params)))
  expect(found.usage.cachedInputTokens).toBe(2 * BLOCK)
  expect(found.logprobs).toEqual(expected.logprobs)
})

test('after a restart, the next turn of a chat reads only new tokens and those of an incomplete block', async () => {
  const at = folder()
  let history = tokens(400)
  for (let turn = 0; turn < 4; turn++) {
    const ready = await openSimulated(keeping(at))
    const { usage, tokens: answer } = await ask(ready, { prompt: { tokens: history } })
    expect(usage.cachedInputTokens).toBe(turn === 0 ? 0 : Math.floor((history.length - 201) / BLOCK) * BLOCK)
    history = [...history, ...answer, ...tokens(200, turn + 1)]
    await ready.engine.shutdown()
  }
})

test('an engine of another precision, another model or another device does not use the files', async () => {
  const at = folder()
  const [float32, half, bfloat16, quantized] = [IN_FLOAT32, ...IN_OWN_PRECISION].map(([, open]: OnMlx) => open)
  const params = { prompt: { tokens: tokens(BLOCK + 4) } }
  await fill(at, float32, params)
  const others = [half, bfloat16, quantized, openSimulated] as Open[]
  for (const [index, open] of others.entries()) {
    const ready = await open(keeping(at))
    expect(await cached(ready, params)).toBe(0)
    await ready.engine.shutdown()
    expect(files(at)).toHaveLength(index + 2)
  }
  const ready = await (float32 as Open)(keeping(at))
  expect(await cached(ready, params)).toBe(BLOCK)
})

test('requests with another salt do not use the files', async () => {
  const at = folder()
  await fill(at, openSimulated, { prompt: prompt(600), cacheSalt: 'a' } as never)
  const ready = await openSimulated(keeping(at))
  const of = (params: object) => cached(ready, { prompt: prompt(600), ...params })
  expect(await of({})).toBe(0)
  expect(await of({ cacheSalt: 'b' })).toBe(0)
  expect(await of({ cache: 'off', cacheSalt: 'a' })).toBe(0)
  expect(diskOf(ready).reads).toBe(0)
  expect(await of({ cacheSalt: 'a' })).toBe(2 * BLOCK)
})

const DAMAGES: [name: string, damage: (file: string) => void][] = [
  [
    'a changed bit',
    file => {
      const bytes = readFileSync(file)
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 4
      writeFileSync(file, bytes)
    },
  ],
  ['a file that was cut', file => truncateSync(file, statSync(file).size - 1)],
  ['an empty file', file => truncateSync(file, 0)],
  ['a file of another program', file => writeFileSync(file, 'my notes')],
  [
    'a link',
    file => {
      rmSync(file)
      symlinkSync('/dev/zero', file)
    },
  ],
]

test.each(DAMAGES)('%s causes a warning, its KV is not reused, and the answer is the same', async (_, damage) => {
  const at = folder()
  await fill(at)
  const expected = await ask(await simulated(M3_MAX), { prompt: prompt(600) })
  const ready = await openSimulated(keeping(at))
  for (const name of files(at)) damage(path.join(at, name))
  const warnings = await warningsOf(async () => {
    const found = await ask(ready, { prompt: prompt(600) })
    expect(found.usage.cachedInputTokens).toBe(0)
    expect(found.tokens).toEqual(expected.tokens)
    await until(() => diskOf(ready).errors === 2)
    await ready.engine.shutdown()
  })
  expect(warnings).toEqual([expect.stringContaining('damaged')])
  const again = await openSimulated(keeping(at))
  expect(await cached(again, { prompt: prompt(600) })).toBe(2 * BLOCK)
})

test('only the owner can read the files and the folder, and files of other programs stay', async () => {
  const at = folder()
  await fill(at)
  const mode = (file: string) => statSync(file).mode & 0o777
  expect([mode(at), ...files(at).map(name => mode(path.join(at, name)))]).toEqual([0o700, 0o600, 0o600])
  writeFileSync(path.join(at, 'notes.txt'), 'my notes')
  const ready = await openSimulated(keeping(at))
  ready.engine.cache.clear()
  await ready.engine.shutdown()
  expect(readdirSync(at).sort()).toEqual(['lock', 'notes.txt'])
})

test('cache.clear() removes all files, also those of what was answered just before', async () => {
  const at = folder()
  const ready = await openSimulated(keeping(at))
  await ask(ready, { prompt: prompt(600) })
  ready.engine.cache.clear()
  await until(() => diskOf(ready).blocks === 0)
  expect(await cached(ready, { prompt: prompt(600) })).toBe(0)
  ready.engine.cache.clear()
  await ready.engine.shutdown()
  expect(files(at)).toEqual([])
})

test('the folder stays within its size limit, which can be changed while the engine runs', async () => {
  const at = folder()
  const ready = await openSimulated(keeping(at, { maxDiskBytes: 0 }))
  await ask(ready, { prompt: prompt(300) })
  expect(diskOf(ready)).toMatchObject({ blocks: 0, bytes: 0, writes: 0 })
  ready.engine.cache.configure({ prefixCache: { maxDiskBytes: 10_000 } })
  for (const first of [1, 2, 3, 4, 5, 6]) await ask(ready, { prompt: prompt(300, 1, first) })
  await until(() => diskOf(ready).writes === 7)
  const { bytes, evictions, blocks } = diskOf(ready)
  expect(bytes).toBeLessThanOrEqual(10_000)
  expect(evictions).toBe(7 - blocks)
  ready.engine.cache.configure({ prefixCache: { maxDiskBytes: 0 } })
  await until(() => files(at).length === 0)
})

test('KV that was evicted from memory is read from the disk', async () => {
  const at = folder()
  const ready = await openSimulated(keeping(at, { maxTokens: 700 }))
  await ask(ready, { prompt: prompt(600) })
  await until(() => diskOf(ready).writes === 2)
  await ask(ready, { prompt: prompt(600, 1, 5) })
  expect(ready.engine.stats().cache.prefix).toMatchObject({ evictions: 1 })
  expect(await cached(ready, { prompt: prompt(600, 3) })).toBe(2 * BLOCK)
  expect(diskOf(ready)).toMatchObject({ hits: 1, tokensReused: 2 * BLOCK })
})

test('a second engine reads the folder of the first, and does not write to it', async () => {
  const at = folder()
  await fill(at)
  const first = await openSimulated(keeping(at))
  let second: Ready | undefined
  const warnings = await warningsOf(async () => {
    second = await openSimulated(keeping(at))
  })
  expect(warnings).toEqual([expect.stringContaining('another engine writes')])
  expect(await cached(second as Ready, { prompt: prompt(600, 2) })).toBe(2 * BLOCK)
  await ask(second as Ready, { prompt: prompt(600, 2, 7) })
  await second?.engine.shutdown()
  expect(files(at)).toHaveLength(2)
  expect(await cached(first, { prompt: prompt(600, 3) })).toBe(2 * BLOCK)
})

test('a second process reads the folder as well, and the lock of a process that was killed is free', async () => {
  const at = folder()
  const script = (end: string) => `
    import { createEngine } from 'mlx-serving'
    const off = { enabled: false }
    const engine = await createEngine({
      backend: { simulated: '${M3_MAX}' },
      cache: { coalescing: off, dedup: off, promptCache: off, prefixCache: { path: ${JSON.stringify(at)} } },
    })
    const prompt = ${JSON.stringify(prompt(600))}
    const { usage } = await engine.generate({ model: await engine.loadModel(), prompt, maxTokens: 8, temperature: 0 })
    console.log(usage.cachedInputTokens)
    while (engine.stats().cache.disk.blocks < 2) await new Promise(done => setTimeout(done, 5))
    ${end}`
  const killed = await inNode(script("process.kill(process.pid, 'SIGKILL')"))
  expect(killed.code).not.toBe(0)
  const writer = await openSimulated(keeping(at))
  await ask(writer, { prompt: prompt(600, 2, 5) })
  await until(() => files(at).length === 4)
  const reader = await inNode(script('await engine.shutdown()'))
  expect(reader).toMatchObject({ code: 0, stdout: expect.stringContaining(String(2 * BLOCK)) })
  expect(files(at)).toHaveLength(4)
})

test('a path that cannot be a folder prevents the start of an engine', async () => {
  const at = folder()
  writeFileSync(at, 'my notes')
  const opened = failure(createEngine({ ...keeping(at), backend: { simulated: M3_MAX } }))
  expect(await opened).toMatchObject({ code: 'ConfigError', param: 'cache.prefixCache.path' })
  expect(readFileSync(at, 'utf8')).toBe('my notes')
})

test('requests that are aborted while they wait, and an engine that is closed meanwhile, leave nothing behind', async () => {
  const at = folder()
  await fill(at)
  for (let round = 0; round < 10; round++) {
    const ready = await openSimulated(keeping(at))
    const { engine } = ready
    const abort = new AbortController()
    const asked = [1, 2, 3].map(own => ask(ready, { prompt: prompt(600, own) }, { signal: abort.signal }))
    const ended = Promise.allSettled(asked)
    if (round % 2 === 0) await new Promise(setImmediate)
    if (round % 3 === 0) abort.abort()
    if (round < 5) await ended
    await engine.dispose()
    await ended
    const { submitted, completed, cancelled, failed, queued, running, preparing } = engine.stats()
    expect(completed + cancelled + failed).toBe(submitted)
    expect([queued, running, preparing]).toEqual([0, 0, 0])
  }
  expect(existsSync(at)).toBe(true)
  expect(files(at)).toHaveLength(2)
})

test('requests with one beginning that arrive together read it from the disk once', async () => {
  const at = folder()
  await fill(at)
  const ready = await openSimulated(keeping(at))
  const results = await Promise.all([1, 2, 3, 4].map(own => ask(ready, { prompt: prompt(600, own) })))
  for (const { usage } of results) expect(usage.cachedInputTokens).toBeGreaterThanOrEqual(2 * BLOCK)
  expect(diskOf(ready)).toMatchObject({ reads: 2 })
})

test('metrics count the disk', async () => {
  const at = folder()
  await fill(at)
  const ready = await openSimulated(keeping(at))
  await ask(ready, { prompt: prompt(600, 2) })
  const { bytes, readBytes } = diskOf(ready)
  const metrics = ready.engine.metrics()
  expect(metrics).toContain('mlx_cache_hits_total{layer="disk"} 1\n')
  expect(metrics).toContain(`mlx_prefix_disk_bytes ${bytes}`)
  expect(metrics).toContain(`mlx_prefix_disk_read_bytes_total ${readBytes}\n`)
})

test('without a path there are no figures of a disk', async () => {
  const { engine } = await simulated(M3_MAX, SHARING_PREFIXES)
  expect(engine.stats().cache.disk).toBeUndefined()
})
