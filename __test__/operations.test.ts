// docs/metrics.md, the alerts and the dashboard name metrics, labels and values that exist, and each alert fires for the failure
// that it is for.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createEngine, type Engine, type EngineOptions, type SimulatedFault } from 'mlx-serving'
import { expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import { Scrape } from './prometheus.js'
import { failure, INSTANT, longAnswer, ROOT, simulated, until } from './support.js'

interface Rule {
  alert: string
  expr: string
}

/** Without retries a failed step fails its requests. */
const ONCE: EngineOptions = { retry: { enabled: false } }

const page = (...name: string[]) => readFile(path.join(ROOT, 'docs', ...name), 'utf8')

async function rules(): Promise<Rule[]> {
  const { groups } = parse(await page('operations', 'alerts.yml')) as { groups: { rules: Rule[] }[] }
  return groups.flatMap(group => group.rules)
}

async function panels(): Promise<string[]> {
  const { panels } = JSON.parse(await page('operations', 'dashboard.json')) as {
    panels: { targets: { expr: string }[] }[]
  }
  return panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
}

const scrape = (engine: Engine) => new Scrape(engine.metrics())

/** A scrape that has every metric, also those that appear with an error. */
async function complete(): Promise<Scrape> {
  const faults: SimulatedFault[] = [{ step: 0, kind: 'collect' }]
  const { engine, model } = await simulated(INSTANT, { ...ONCE, backend: { simulated: INSTANT, faults } })
  await failure(engine.generate({ model, prompt: 'Hello', maxTokens: 2 }))
  return scrape(engine)
}

/** The metrics of an expression, each with its selector. */
const selectors = (expr: string) =>
  [...expr.matchAll(/\b(mlx_\w+)(?:\{([^}]*)\})?/g)].map(([, name, labels]) => ({ name, labels }))

test('the alerts and the dashboard use metrics, labels and values that exist', async () => {
  const scraped = await complete()
  const used = [...(await rules()).map(({ expr }) => expr), ...(await panels())]
  expect(used.length).toBeGreaterThan(20)
  // Labels that Prometheus adds, and those of a bucket.
  const common = ['job', 'instance']
  for (const expr of used) {
    const found = selectors(expr)
    expect(found.length, expr).toBeGreaterThan(0)
    const labels = new Set<string>(common)
    for (const { name, labels: selector } of found) {
      const samples = scraped.all(name)
      expect(samples.length, name).toBeGreaterThan(0)
      for (const label of samples.flatMap(sample => Object.keys(sample.labels))) labels.add(label)
      for (const [, label, value] of selector?.matchAll(/(\w+)=~?"([^"]*)"/g) ?? []) {
        if (common.includes(label)) continue
        const values = samples.map(sample => sample.labels[label])
        for (const one of value.split('|')) expect(values, `${name}{${label}}`).toContain(one)
      }
    }
    for (const [, list] of expr.matchAll(/by \(([^)]*)\)/g)) {
      for (const label of list.split(', ')) expect([...labels], expr).toContain(label)
    }
  }
})

test('docs/metrics.md has every metric with its type and its labels, and every alert', async () => {
  const scraped = await complete()
  const text = await page('metrics.md')
  const rows = [...text.matchAll(/^\| `(mlx_\w+)` \| (\w+) \| (.*?) \| /gm)]
  const documented = rows.map(([, name, type, labels]) => {
    const names = [...labels.matchAll(/(?:^|, )`(\w+)`(?=[,:]|$)/g)].map(([, label]) => label)
    return [name, type, names.filter(label => !/^(completed|failed|cancelled|rejected)$/.test(label)).toSorted()]
  })
  const declared = [...scraped.types].map(([family, type]) => {
    const [name, sample] = { counter: [`${family}_total`, `${family}_total`], histogram: [family, `${family}_count`] }[
      type
    ] ?? [family, family]
    return [name, type, Object.keys(scraped.all(sample)[0].labels).toSorted()]
  })
  const byName = (one: unknown[], other: unknown[]) => String(one[0]).localeCompare(String(other[0]))
  expect(documented.map(([name, type]) => [name, type]).toSorted(byName)).toEqual(
    declared.map(([name, type]) => [name, type]).toSorted(byName),
  )
  for (const [name, , labels] of declared) {
    const [, , row] = documented.find(([other]) => other === name) as [string, string, string[]]
    expect(row, String(name)).toEqual(expect.arrayContaining(labels as string[]))
    if ((labels as string[]).length === 0) expect(row, String(name)).toEqual([])
  }
  const alerts = [...text.matchAll(/^\| `(MlxServing\w+)` \|/gm)].map(([, alert]) => alert)
  expect(alerts).toEqual((await rules()).map(({ alert }) => alert))
})

/** The limit of an alert: what its expression compares with. */
async function limitOf(alert: string): Promise<number> {
  const rule = (await rules()).find(one => one.alert === alert) as Rule
  const [, limit] = /[<>] ([\d.]+)$/.exec(rule.expr) as RegExpExecArray
  return Number(limit)
}

/** What a counter has gained between two scrapes. */
const gain = (scrapes: Scrape[], name: string, labels: Record<string, string> = {}) =>
  scrapes[1].sum(name, labels) - scrapes[0].sum(name, labels)

async function during(engine: Engine, work: () => Promise<unknown>): Promise<Scrape[]> {
  const before = scrape(engine)
  await work()
  return [before, scrape(engine)]
}

const failing = (options: EngineOptions, ...faults: SimulatedFault[]) =>
  simulated(INSTANT, { ...options, backend: { simulated: INSTANT, faults } })

test('the alert about errors fires when requests fail, and not before', async () => {
  const { engine, model } = await failing(ONCE, { step: 220, kind: 'collect' })
  const ask = () => engine.generate({ model, prompt: 'Hello', maxTokens: 1 }).catch(() => {})
  const many = async () => {
    for (let n = 0; n < 200; n++) await ask()
  }
  const rate = (scrapes: Scrape[]) => {
    const [failed, completed] = ['failed', 'completed'].map(outcome => gain(scrapes, 'mlx_requests_total', { outcome }))
    return failed / (failed + completed)
  }
  const limit = await limitOf('MlxServingErrorRate')
  expect(rate(await during(engine, many))).toBeLessThanOrEqual(limit)
  // One of a hundred is the limit; this is one of fifty.
  const failures = await during(engine, async () => {
    for (let n = 0; n < 50; n++) await ask()
  })
  expect(rate(failures)).toBeGreaterThan(limit)
  expect(engine.stats().recoveries).toBe(1)
  expect(gain(failures, 'mlx_device_resets_total')).toBeGreaterThan(await limitOf('MlxServingDeviceResets'))
})

test('the alert about slow requests fires when answers take seconds', async () => {
  const { engine, model } = await failing({}, { step: 1, kind: 'stall', ms: 3_300 })
  const ask = async () => engine.generate({ ...(await longAnswer(5)), model, maxTokens: 5 })
  const limit = await limitOf('MlxServingSlowRequests')
  const isSlow = ({ samples }: Scrape) => {
    const [within, all] = [String(limit.toFixed(1)), '+Inf'].map(
      le =>
        samples.find(({ name, labels }) => name === 'mlx_request_seconds_bucket' && labels.le === le)?.value as number,
    )
    return all > 0 && within < 0.95 * all
  }
  await ask()
  expect(isSlow(scrape(engine))).toBe(true)
  // Twenty quick answers later, less than 5 % were slow.
  for (let n = 0; n < 20; n++) await ask()
  expect(isSlow(scrape(engine))).toBe(false)
})

test('the alert about a stuck step fires while it is stuck', async () => {
  // The worker is not replaced, so the step stays stuck until it ends. The limit of the first step is 300 ms.
  const options = { health: { stuckAfterMs: 100 }, workers: { replaceStuck: false } }
  const { engine, model } = await failing(options, { step: 0, kind: 'stall', ms: 1_500 })
  const limit = await limitOf('MlxServingStuckStep')
  const answer = engine.generate({ ...(await longAnswer(5)), model, maxTokens: 5 })
  await until(() => scrape(engine).sum('mlx_step_stuck') > limit)
  await answer
  expect(scrape(engine).sum('mlx_step_stuck')).toBeLessThanOrEqual(limit)
})

test('the alert about a missing engine fires once the engine is disposed', async () => {
  const { engine } = await simulated()
  const limit = await limitOf('MlxServingNoEngine')
  expect(scrape(engine).sum('mlx_worker_active')).toBeGreaterThanOrEqual(limit)
  await engine.dispose()
  expect(scrape(engine).sum('mlx_worker_active')).toBeLessThan(limit)
})

test('the alert about the cache fires when its file cannot be written', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'mlx-serving-'))
  const cache = { promptCache: { path: path.join(folder, 'answers') } }
  const engine = await createEngine({ backend: { simulated: INSTANT }, cache })
  onTestFinished(() => engine.dispose())
  const model = await engine.loadModel()
  await engine.generate({ model, prompt: 'Hello', maxTokens: 2, temperature: 0 })
  await rm(folder, { recursive: true })
  const ends = await during(engine, () => engine.shutdown())
  const rate = gain(ends, 'mlx_cache_errors_total') / gain(ends, 'mlx_cache_writes_total')
  expect(rate).toBeGreaterThan(await limitOf('MlxServingCacheErrors'))
})

test('the alert about rejections fires when more requests come than are accepted', async () => {
  const { engine, model } = await failing({ scheduler: { maxPending: 2 } }, { step: 0, kind: 'stall', ms: 200 })
  const ask = () => engine.generate({ model, prompt: 'Hello', maxTokens: 2 }).catch(() => {})
  const crowd = await during(engine, () => Promise.all(Array.from({ length: 10 }, ask)))
  const rejected = gain(crowd, 'mlx_requests_total', { outcome: 'rejected' })
  expect(rejected / gain(crowd, 'mlx_requests_submitted_total')).toBeGreaterThan(await limitOf('MlxServingRejections'))
})
