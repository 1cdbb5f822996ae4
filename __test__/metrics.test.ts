// engine.metrics(): the text is parsed as a scraper parses it. Requests and tokens add up in every scrape, whatever happens to
// the requests, and no counter falls.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { createEngine, type Engine, type GenerateOptions, type ModelHandle, type SimulatedFault } from 'mlx-serving'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { Scrape } from './prometheus.js'
import { IN_FLOAT32, INSTANT, longAnswer, M3_MAX, type OnMlx, ROOT, sharing, simulated, until } from './support.js'

afterEach(() => vi.unstubAllEnvs())

const scrape = (engine: Engine) => new Scrape(engine.metrics())

const OUTCOMES = ['completed', 'failed', 'cancelled', 'rejected']

/** Checks what is true of every scrape. */
function addsUp(scraped: Scrape): void {
  const { text, types } = scraped
  const ended = scraped.sum('mlx_requests_total')
  expect(scraped.sum('mlx_requests_submitted_total'), text).toBe(ended + scraped.sum('mlx_requests_in_flight'))
  const [failed, rejected] = ['failed', 'rejected'].map(outcome => scraped.sum('mlx_requests_total', { outcome }))
  expect(scraped.sum('mlx_request_errors_total'), text).toBe(failed + rejected)
  for (const [name, type] of types) if (type === 'histogram') isHistogram(scraped, name)
  expect(text.endsWith('\n# EOF\n')).toBe(true)
}

/** Checks that each series has rising buckets, of which the last one has the count. */
function isHistogram(all: Scrape, name: string): void {
  for (const { labels, value } of all.all(`${name}_count`)) {
    const buckets = all.all(`${name}_bucket`, labels)
    expect(buckets.at(-1)?.labels.le).toBe('+Inf')
    expect(buckets.at(-1)?.value).toBe(value)
    const counts = buckets.map(bucket => bucket.value)
    expect(counts).toEqual(counts.toSorted((one, other) => one - other))
    const bounds = buckets.map(({ labels: { le } }) => (le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le)))
    expect(bounds).toEqual([...new Set(bounds)].toSorted((one, other) => one - other))
  }
}

/** Checks that no counter of an earlier scrape is smaller in a later one, or missing. */
function neverFalls(before: Scrape, after: Scrape): void {
  const isCounter = (name: string) =>
    before.types.get(name.replace(/_total$/, '')) === 'counter' ||
    before.types.get(name.replace(/_(sum|count|bucket)$/, '')) === 'histogram'
  for (const { name, labels, value } of before.samples.filter(sample => isCounter(sample.name))) {
    const [later] = after.all(name, labels)
    expect(later?.value, `${name} ${JSON.stringify(labels)}`).toBeGreaterThanOrEqual(value)
  }
}

/** Every name that dashboards of this engine rely on, with its type and its labels. */
const NAMES: [name: string, type: string, labels: string[]][] = [
  ['mlx_requests', 'counter', ['model', 'outcome']],
  ['mlx_tokens_generated', 'counter', ['model']],
  ['mlx_prompt_tokens', 'counter', ['model']],
  ['mlx_cache_hits', 'counter', ['layer']],
  ['mlx_cache_misses', 'counter', ['layer']],
  ['mlx_prefix_misses', 'counter', ['reason']],
  ['mlx_prefix_tokens', 'counter', ['kind']],
  ['mlx_prefix_evictions', 'counter', []],
  ['mlx_prefix_bytes', 'gauge', []],
  ['mlx_prefix_pinned_bytes', 'gauge', []],
  ['mlx_prefix_disk_bytes', 'gauge', []],
  ['mlx_prefix_disk_read_bytes', 'counter', []],
  ['mlx_prefix_disk_written_bytes', 'counter', []],
  ['mlx_prefix_disk_skipped', 'counter', []],
  ['mlx_prefix_disk_errors', 'counter', []],
  ['mlx_retry_attempts', 'counter', []],
  ['mlx_circuit_state', 'gauge', ['model']],
  ['mlx_stream_backpressure_events', 'counter', []],
  ['mlx_model_lifecycle_unloads', 'counter', []],
  ['mlx_window_transitions', 'counter', []],
  ['mlx_fast_path', 'counter', []],
  ['mlx_worker_restarts', 'counter', []],
  ['mlx_dedupe_ratio', 'gauge', []],
  ['mlx_prompt_cache_size', 'gauge', []],
  ['mlx_queue_depth', 'gauge', ['model']],
  ['mlx_batch_limit', 'gauge', ['model']],
  ['mlx_window_seconds', 'gauge', ['model']],
  ['mlx_worker_active', 'gauge', []],
  ['mlx_model_resident_bytes', 'gauge', ['model']],
  ['mlx_throughput_tokens_per_second', 'gauge', ['window']],
  ['mlx_uptime_seconds', 'gauge', []],
  ['mlx_ttft_seconds', 'histogram', ['model']],
  ['mlx_inter_token_seconds', 'histogram', ['model']],
  ['mlx_request_seconds', 'histogram', ['model']],
  ['mlx_queue_seconds', 'histogram', ['model']],
  ['mlx_batch_size', 'histogram', ['model']],
  ['mlx_step_seconds', 'histogram', ['kind', 'model']],
  ['mlx_model_load_seconds', 'histogram', ['model']],
]

test('every metric has its name, its type and its labels', async () => {
  const { engine } = await simulated()
  const scraped = scrape(engine)
  const suffix = { counter: '_total', gauge: '', histogram: '_count' } as Record<string, string>
  for (const [name, type, labels] of NAMES) {
    expect(scraped.types.get(name), name).toBe(type)
    const found = scraped.all(`${name}${suffix[type]}`)
    expect(found.length, name).toBeGreaterThan(0)
    for (const sample of found) expect(Object.keys(sample.labels).toSorted(), name).toEqual(labels)
  }
})

test('metrics have the values of the requests', async () => {
  const { engine, model } = await sharing(INSTANT)
  const params = { ...(await longAnswer(20)), model, maxTokens: 20, seed: 7 }
  const first = await engine.generate(params)
  for (let n = 0; n < 3; n++) await engine.generate({ ...params, cache: 'force' })
  const { usage } = first
  const labels = { model: model.id }
  const scraped = scrape(engine)
  const computed = scraped.sum('mlx_queue_seconds_count')
  expect(scraped.sum('mlx_requests_total', { ...labels, outcome: 'completed' })).toBe(4)
  expect(scraped.sum('mlx_prompt_tokens_total', labels)).toBe(computed * usage.inputTokens)
  for (const name of ['mlx_ttft_seconds', 'mlx_request_seconds']) expect(scraped.sum(`${name}_count`), name).toBe(4)
  const tokens = scraped.sum('mlx_tokens_generated_total', labels)
  expect(scraped.sum('mlx_inter_token_seconds_count', labels)).toBe(tokens - computed)
  expect(scraped.sum('mlx_model_load_seconds_count', labels)).toBe(1)
  expect(scraped.sum('mlx_model_resident_bytes', labels)).toBe(model.bytes)
  const { steps, meanBatch } = engine.stats()
  expect(scraped.sum('mlx_batch_size_count')).toBe(steps)
  expect(scraped.sum('mlx_batch_size_sum') / steps).toBeCloseTo(meanBatch, 9)
  expect(scraped.sum('mlx_step_seconds_count')).toBeLessThanOrEqual(steps)
  const hits =
    scraped.sum('mlx_cache_hits_total', { layer: 'dedup' }) + scraped.sum('mlx_cache_hits_total', { layer: 'prompt' })
  expect(hits).toBe(4 - computed)
})

test('percentiles, batch sizes and throughput are in the statistics', async () => {
  const { engine, model } = await simulated(M3_MAX)
  expect(engine.stats()).toMatchObject({ latency: {}, minBatch: 0, maxBatch: 0, tokensPerSecond: { last5s: 0 } })
  expect(engine.stats().latency).toEqual({})
  const params = { ...(await longAnswer(20)), model, maxTokens: 20 }
  const { timings } = await engine.generate(params)
  const { latency, minBatch, maxBatch } = engine.stats()
  expect([minBatch, maxBatch]).toEqual([1, 1])
  // One value is its own percentile.
  for (const percentile of ['p50Ms', 'p95Ms', 'p99Ms'] as const) {
    expect(latency.ttft?.[percentile]).toBeCloseTo(timings.ttftMs, 6)
    expect(latency.request?.[percentile]).toBeCloseTo(timings.totalMs, 6)
    expect(latency.queue?.[percentile]).toBeCloseTo(timings.queueMs, 6)
  }
  // Some of the 19 intervals are shorter than a step if the engine reads a token late. The longest one is not.
  expect(latency.interToken?.p99Ms).toBeGreaterThan(3)
  // Only complete seconds count, and the tokens may be in two of them.
  await until(() => engine.stats().tokensPerSecond.last60s === 20 / 60)
  const { last5s, last30s } = engine.stats().tokensPerSecond
  expect([last5s, last30s]).toEqual([20 / 5, 20 / 30])
  const both = [1, 2].map(() => engine.generate({ ...params, maxTokens: 1_000, ignoreEos: true }))
  await until(() => engine.stats().maxBatch === 2)
  for (const generation of both) generation.cancel()
  await Promise.all(both)
  expect(engine.stats()).toMatchObject({ minBatch: 1, maxBatch: 2 })
})

/** Reproducible random numbers. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
}

/** Sends a random mixture of requests, and scrapes meanwhile. Returns the tokens of the answers that were computed. */
async function randomLoad(engine: Engine, model: ModelHandle, numRequests: number): Promise<number> {
  const next = random(42)
  let computed = 0
  let numOpen = 0
  const ask = async () => {
    const kind = next()
    const number = Math.floor(next() * 6)
    const params = { model, prompt: `Number ${number}`, maxTokens: 2 + 2 * number, temperature: 0 }
    const options: GenerateOptions = kind < 0.1 ? { timeoutMs: 1 + next() * 30 } : {}
    const generation = engine.generate(params, options)
    if (kind > 0.8) setTimeout(() => generation.cancel(), next() * 20)
    try {
      if (kind > 0.9) {
        for await (const _ of generation) break
      }
      const { tokens, served } = await generation
      if (served === 'computed') computed += tokens.length
    } catch (error) {
      expect((error as { code?: string }).code).toMatch(
        /^(Overloaded|Timeout|BackendError|InsufficientMemory|Cancelled|CircuitOpen)$/,
      )
    }
    numOpen--
  }
  let before = scrape(engine)
  for (let n = 0; n < numRequests; n++) {
    numOpen++
    void ask()
    // The first requests come at once, so that some are refused and some share an answer.
    if (n < 30 || n % 5 !== 0) continue
    await new Promise(resolve => setTimeout(resolve, next() * 40))
    const after = scrape(engine)
    addsUp(after)
    neverFalls(before, after)
    before = after
  }
  await until(() => numOpen === 0)
  await until(() => scrape(engine).sum('mlx_requests_in_flight') === 0)
  return computed
}

function settled(engine: Engine, numRequests: number, computed: number): void {
  const scraped = scrape(engine)
  addsUp(scraped)
  const { completed, failed, cancelled, rejected, submitted, generatedTokens } = engine.stats()
  expect(submitted).toBe(numRequests)
  const refused = Object.values(rejected).reduce((total, count) => total + count, 0)
  expect(OUTCOMES.map(outcome => scraped.sum('mlx_requests_total', { outcome }))).toEqual([
    completed,
    failed,
    cancelled,
    refused,
  ])
  expect(scraped.sum('mlx_request_seconds_count')).toBe(completed)
  expect(scraped.sum('mlx_tokens_generated_total')).toBe(generatedTokens)
  // Requests that failed, and readers that left, had tokens as well.
  expect(generatedTokens).toBeGreaterThanOrEqual(computed)
}

test.each([1, 3])(
  'on %i workers, requests add up in every scrape of a random load with aborts, failures, shared and rejected requests',
  async count => {
    const kinds = ['logits', 'thread', 'submit', 'collect', 'memory', 'panic'] as const
    const faults = kinds.map((kind, n): SimulatedFault => ({ step: 12 * n + 9, kind }))
    const { engine, model } = await sharing(INSTANT, {
      scheduler: { maxPending: 8 },
      workers: { count },
      backend: { simulated: M3_MAX, faults },
    })
    let computed = await randomLoad(engine, model, 150)
    let submitted = 150
    // A slow engine refuses most requests, and may not reach the step in which a thread ends.
    for (; scrape(engine).sum('mlx_worker_restarts_total') === 0; submitted++) {
      const answer = engine.generate({ model, prompt: 'Once', maxTokens: 12, cache: 'off' })
      computed += await answer.then(
        ({ tokens }) => tokens.length,
        () => 0,
      )
    }
    settled(engine, submitted, computed)
    for (const outcome of OUTCOMES)
      expect(scrape(engine).sum('mlx_requests_total', { outcome }), outcome).toBeGreaterThan(0)
    expect(scrape(engine).sum('mlx_cache_hits_total', { layer: 'coalesce' })).toBeGreaterThan(0)
    expect(scrape(engine).sum('mlx_device_resets_total')).toBeGreaterThan(0)
    expect(scrape(engine).sum('mlx_worker_restarts_total')).toBe(1)
  },
)

test.each<OnMlx>([IN_FLOAT32])('on %s, requests add up in every scrape of a random load', async (_, open) => {
  const { engine, model } = await open({ cache: {}, scheduler: { maxPending: 8 } })
  const computed = await randomLoad(engine, model, 100)
  settled(engine, 100, computed)
})

test('the counters of tokens have the tokens that were delivered', async () => {
  const { engine, model } = await simulated(INSTANT)
  let delivered = 0
  let inputs = 0
  const prompts = Array.from({ length: 20 }, (_, n) => `Number ${n}`)
  const ask = async (prompt: string, n: number) => {
    const { tokens, usage } = await engine.generate({ model, prompt, maxTokens: 1 + (n % 7) })
    delivered += tokens.length
    inputs += usage.inputTokens
  }
  await Promise.all(prompts.map(ask))
  const scraped = scrape(engine)
  expect(scraped.sum('mlx_tokens_generated_total')).toBe(delivered)
  expect(scraped.sum('mlx_prompt_tokens_total')).toBe(inputs)
})

test('no counter falls when a model is unloaded, loaded again, or the engine is shut down', async () => {
  const { engine, model } = await simulated()
  await engine.generate({ model, prompt: 'Hello', maxTokens: 3 })
  const scrapes = [scrape(engine)]
  await engine.unloadModel(model)
  scrapes.push(scrape(engine))
  expect(scrapes[1].all('mlx_batch_limit')).toEqual([])
  const again = await engine.loadModel()
  expect(again.id).toBe(model.id)
  await engine.generate({ model: again, prompt: 'Hello', maxTokens: 3 })
  scrapes.push(scrape(engine))
  await engine.shutdown()
  scrapes.push(scrape(engine))
  for (const [n, after] of scrapes.slice(1).entries()) neverFalls(scrapes[n], after)
  const last = scrapes[3]
  expect(last.sum('mlx_requests_total', { model: model.id, outcome: 'completed' })).toBe(2)
  expect(last.sum('mlx_model_load_seconds_count')).toBe(2)
  expect(last.sum('mlx_model_lifecycle_unloads_total')).toBe(2)
  expect([scrapes[2], last].map(it => it.sum('mlx_worker_active'))).toEqual([1, 0])
  expect(engine.metrics()).toBe(last.text)
})

test('the label of a model is its id, whatever characters the id has', async () => {
  const { engine } = await simulated()
  const id = 'a "b" \\ c\nd, {e="f"} ☃'
  const model = await engine.loadModel({ path: path.join(ROOT, 'models', 'demo'), id, chatTemplate: 'x' })
  await engine.generate({ model, prompt: 'Hello', maxTokens: 2 })
  expect(scrape(engine).sum('mlx_requests_total', { model: id, outcome: 'completed' })).toBe(1)
})

test('without metrics.export the text has one gauge, and stats() has its figures', async () => {
  vi.stubEnv('MLX_METRICS_EXPORT', 'off')
  const { engine, model } = await simulated()
  await engine.generate({ model, prompt: 'Hello', maxTokens: 2 })
  const off = scrape(engine)
  expect(off.samples).toEqual([{ name: 'mlx_metrics_export', labels: {}, value: 0 }])
  expect(engine.metrics()).toMatch(/^# HELP .*metrics\.export is off.*\n# TYPE .*\n.*\n# EOF\n$/)
  expect(engine.stats().latency.ttft?.p50Ms).toBeGreaterThan(0)
  vi.unstubAllEnvs()
  const latency = await createEngine({ preset: 'latency', backend: { simulated: INSTANT } })
  onTestFinished(() => latency.dispose())
  expect(scrape(latency).sum('mlx_metrics_export')).toBe(0)
  const on = await createEngine({ preset: 'latency', metrics: { export: true }, backend: { simulated: INSTANT } })
  onTestFinished(() => on.dispose())
  expect(scrape(on).sum('mlx_metrics_export')).toBe(1)
})

test('a server answers scrapes', async () => {
  const { engine } = await simulated()
  const server = createServer((_, response) => {
    response.setHeader('content-type', 'application/openmetrics-text; version=1.0.0; charset=utf-8')
    response.end(engine.metrics())
  })
  await new Promise<void>(resolve => server.listen(0, resolve))
  onTestFinished(() => void server.close())
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`)
  expect(response.headers.get('content-type')).toContain('openmetrics')
  expect(new Scrape(await response.text()).sum('mlx_worker_active')).toBe(1)
})
