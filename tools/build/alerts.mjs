// `npm run check:alerts`: checks docs/operations/ with Prometheus' own promtool. The alerts are valid and pass their tests
// (tools/docs/alerts.test.yml), and Prometheus can parse every expression of the dashboard. Fetches promtool if it is missing.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { cached } from './cache.mjs'
import { quiet } from './command.mjs'
import { Failure, main } from './failure.mjs'
import { at, readJson } from './repository.mjs'
import { phase } from './terminal.mjs'

const PROMTOOL = 'promtool'

/** What Grafana puts in place of its variables. */
const VARIABLES = { $__rate_interval: '1m', $job: '.*', $instance: '.*' }

/** The program: the installed one, or that of Debian's package `prometheus`, which is fetched and not installed. */
export async function promtool() {
  const own = cached(PROMTOOL, PROMTOOL)
  if (existsSync(own)) return own
  const installed = await quiet(PROMTOOL, ['--version']).catch(() => '')
  if (installed !== '') return PROMTOOL
  await inFolder(async folder => {
    await download(folder).catch(error => {
      throw new Failure(`${error.message}\npromtool was not found. Install Prometheus: https://prometheus.io/download`)
    })
    const [packed] = readdirSync(folder).filter(name => name.endsWith('.deb'))
    await quiet('dpkg-deb', ['--extract', join(folder, packed), join(folder, 'files')])
    mkdirSync(cached(PROMTOOL), { recursive: true })
    copyFileSync(join(folder, 'files', 'usr', 'bin', PROMTOOL), own)
  })
  return own
}

/** Needs no rights. Where the system has no lists of packages, it fetches lists of its own. */
async function download(folder) {
  const options = { cwd: folder }
  const args = ['download', '--quiet', 'prometheus']
  await quiet('apt-get', args, options).catch(async () => {
    for (const name of ['lists', 'cache']) mkdirSync(join(folder, name, 'partial'), { recursive: true })
    const own = ['-o', `Dir::State::lists=${join(folder, 'lists')}`, '-o', `Dir::Cache=${join(folder, 'cache')}`]
    await quiet('apt-get', ['update', '--quiet', ...own], options)
    await quiet('apt-get', [...args, ...own], options)
  })
}

async function inFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), 'mlx-serving-'))
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The expressions of the dashboard as rules, because promtool checks rules. */
function dashboardRules() {
  const targets = readJson(at('docs', 'operations', 'dashboard.json')).panels.flatMap(panel => panel.targets)
  const exprs = targets.map(({ expr }) =>
    Object.entries(VARIABLES).reduce((text, [name, value]) => text.replaceAll(name, value), expr),
  )
  return { groups: [{ name: 'dashboard', rules: exprs.map((expr, n) => ({ record: `panel:${n}`, expr })) }] }
}

async function checkDashboard(program) {
  await inFolder(async folder => {
    const path = join(folder, 'dashboard.json')
    writeFileSync(path, JSON.stringify(dashboardRules()))
    await quiet(program, ['check', 'rules', path])
  })
}

async function check() {
  const program = await phase('Looking for promtool', promtool)
  await phase('Alerts', () => quiet(program, ['check', 'rules', at('docs', 'operations', 'alerts.yml')]))
  await phase('Tests of the alerts', () => quiet(program, ['test', 'rules', at('tools', 'docs', 'alerts.test.yml')]))
  await phase('Every alert has a test', checkTests)
  await phase('Expressions of the dashboard', () => checkDashboard(program))
}

/** Fails with the alerts that no test expects to fire. */
function checkTests() {
  const alerts = readFileSync(at('docs', 'operations', 'alerts.yml'), 'utf8').matchAll(/- alert: (\w+)/g)
  const tests = readFileSync(at('tools', 'docs', 'alerts.test.yml'), 'utf8')
  const missing = [...alerts]
    .map(([, alert]) => alert)
    .filter(alert => !tests.includes(`alertname: ${alert}\n        exp_alerts`))
  if (missing.length > 0) throw new Failure(`No test expects these alerts to fire: ${missing.join(', ')}`)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(check)
