// `mlx-serving doctor`: checks what an engine needs on this machine, and says what to do about each problem.

import { access, constants, mkdir, statfs } from 'node:fs/promises'
import { arch, freemem, platform, release } from 'node:os'
import { accessOf } from '../download/access'
import { createEngine } from '../engine'
import { memoryBytes } from '../environment'
import { loadAddon } from '../load'
import { platformPackage, unknownPlatform } from '../system'
import { CommandError, partsOf } from './exits'
import { bytes, digits } from './figures'
import { interruptible } from './interrupts'
import { paint, printable, printJson, printLine } from './terminal'

const OLDEST_NODE = [20, 19] as const
/** Less is short for the bundled model and Node.js themselves. */
const LITTLE_MEMORY = 2e9
/** Less does not hold a small model of the hub. */
const LITTLE_DISK = 5e9

export interface Check {
  readonly name: string
  readonly state: 'ok' | 'warning' | 'failed'
  readonly detail: string
  readonly remedy?: string
}

type Outcome = Omit<Check, 'name'>

const ok = (detail: string): Outcome => ({ state: 'ok', detail })
const warning = (detail: string, remedy: string): Outcome => ({ state: 'warning', detail, remedy })
const failed = (detail: string, remedy: string): Outcome => ({ state: 'failed', detail, remedy })

export async function doctor({ json }: { json?: boolean }): Promise<void> {
  const checks = await interruptible(signal => allChecks(signal, json ? undefined : show))
  const numFailed = checks.filter(({ state }) => state === 'failed').length
  if (json) await printJson({ ok: numFailed === 0, checks })
  if (numFailed > 0) throw new CommandError('DoctorFailed', `${numFailed} of ${checks.length} checks failed`)
}

const MARKS = { ok: ['green', '√'], warning: ['yellow', '!'], failed: ['red', '×'] } as const

async function show({ name, state, detail, remedy }: Check): Promise<void> {
  const [style, mark] = MARKS[state]
  await printLine(`${paint(style, mark)} ${name.padEnd(9)} ${printable(detail)}`)
  if (remedy !== undefined) await printLine(`            ${printable(remedy)}`)
}

/** Runs the checks one after another; each is shown as soon as it has ended. */
async function allChecks(signal: AbortSignal, show?: (check: Check) => Promise<void>): Promise<Check[]> {
  const steps: [name: string, check: () => Outcome | Promise<Outcome>][] = [
    ['Node.js', checkNode],
    ['platform', checkPlatform],
    ['addon', checkAddon],
    ['engine', () => checkEngine(signal)],
    ['memory', checkMemory],
    ['cache', checkCache],
    ['disk', checkDisk],
    ['hub', () => checkHub(signal)],
  ]
  const checks: Check[] = []
  for (const [name, check] of steps) {
    const outcome = await Promise.resolve()
      .then(check)
      .catch(error => failed(partsOf(error).message, partsOf(error).hint ?? 'docs/errors.md describes the errors'))
    signal.throwIfAborted()
    checks.push({ name, ...outcome })
    await show?.({ name, ...outcome })
  }
  return checks
}

function checkNode(): Outcome {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isOld = major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])
  const detail = `${process.versions.node} in ${process.execPath}`
  return isOld ? failed(detail, `install Node.js ${OLDEST_NODE.join('.')} or newer`) : ok(detail)
}

function checkPlatform(): Outcome {
  const name = platformPackage()
  if (name === undefined) return failed(unknownPlatform(), 'use a Mac with Apple silicon, or Linux on x86-64')
  return ok(`${platform()}-${arch()} ${release()}, package ${name}`)
}

function checkAddon(): Outcome {
  const addon = loadAddon()
  const device = process.platform === 'darwin' ? 'Metal' : 'the CPU'
  return ok(`version ${addon.version()}, computes on ${device}`)
}

/** Asks the bundled model a sum: the whole way from a prompt to an answer. */
async function checkEngine(signal: AbortSignal): Promise<Outcome> {
  const engine = await createEngine()
  try {
    const model = await engine.loadModel({ signal })
    const messages = [{ role: 'user', content: 'What is 20 + 3?' }]
    const { text, timings } = await engine.generate({ model, messages, temperature: 0, maxTokens: 64 }, { signal })
    if (/\b23\b/.test(text)) return ok(`the bundled model answers, ${digits(timings.tokensPerSecond)} tokens/s`)
    return failed(
      `the bundled model gave a wrong answer: ${text}`,
      'install the package again, and report it if that fails',
    )
  } finally {
    await engine.dispose()
  }
}

function checkMemory(): Outcome {
  const all = memoryBytes()
  const detail = `${bytes(all)} for this process, ${bytes(freemem())} free`
  return all < LITTLE_MEMORY ? warning(detail, '`mlx-serving fit` says which models fit') : ok(detail)
}

async function checkCache(): Promise<Outcome> {
  const { cacheFolder } = accessOf(undefined)
  try {
    await mkdir(cacheFolder, { recursive: true })
    await access(cacheFolder, constants.W_OK)
    return ok(`${cacheFolder} can be written`)
  } catch (error) {
    return failed((error as Error).message, 'allow writing there, or choose another folder with HF_HUB_CACHE')
  }
}

async function checkDisk(): Promise<Outcome> {
  const { cacheFolder } = accessOf(undefined)
  const { bavail, bsize } = await statfs(cacheFolder)
  const detail = `${bytes(bavail * bsize)} free in ${cacheFolder}`
  return bavail * bsize < LITTLE_DISK ? warning(detail, 'remove models with `mlx-serving rm`') : ok(detail)
}

async function checkHub(signal: AbortSignal): Promise<Outcome> {
  const { endpoint, isOffline, timeoutMs, token } = accessOf(undefined)
  if (isOffline) return ok('HF_HUB_OFFLINE is set: models come from the cache only')
  const remedy = 'check the network and its proxy; models of the cache and of folders load without the hub'
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  try {
    const { status } = await fetch(`${endpoint}/api/models?limit=1`, { method: 'HEAD', signal: limit })
    if (status >= 500) return warning(`${endpoint} answered ${status}`, 'try again later')
    return ok(`${endpoint} answers, ${token === undefined ? 'without a token' : 'a token is set'}`)
  } catch (error) {
    const { cause, message } = error as Error
    return warning(`${endpoint} cannot be reached: ${cause instanceof Error ? cause.message : message}`, remedy)
  }
}
