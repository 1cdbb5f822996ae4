// Runs the command `mlx-serving` in a process of its own, with pipes or on a pseudo terminal.

import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { onTestFinished } from 'vitest'
import { type Exit, ROOT } from './support.js'

export const PROGRAM = path.join(ROOT, 'dist', 'cli', 'main.js')

interface Running {
  /** Sends a signal once stdout or stderr has this text. */
  readonly kill?: { signal: NodeJS.Signals; after: string }
  readonly input?: string
  readonly variables?: NodeJS.ProcessEnv
  /** The working directory. */
  readonly cwd?: string
}

/** Runs a command line with pipes. */
export function cli(args: readonly string[], { kill, input = '', variables = {}, cwd }: Running = {}): Promise<Exit> {
  const env = { ...process.env, ...variables }
  const child = spawn(process.execPath, [PROGRAM, ...args], { env, cwd, timeout: 25_000 })
  const exit: Exit = { code: null, signal: null, stdout: '', stderr: '' }
  let isKilled = false
  const look = () => {
    if (kill === undefined || isKilled || !(exit.stdout + exit.stderr).includes(kill.after)) return
    isKilled = child.kill(kill.signal)
  }
  child.stdout.on('data', data => {
    exit.stdout += data
    look()
  })
  child.stderr.on('data', data => {
    exit.stderr += data
    look()
  })
  // A command that does not read stdin may have ended.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ ...exit, code, signal }))
  })
}

/** What a step of a dialogue waits for, or types. */
export type Step = { wait: string } | { send: string }

export interface Shown {
  /** Everything that the terminal showed, without its control sequences. */
  readonly shown: string
  /** The same, with them. */
  readonly raw: string
  readonly code: number
}

/** Runs a command line on a pseudo terminal. Fails if a step is not reached. */
export function onTerminal(
  args: readonly string[],
  steps: readonly Step[],
  variables: NodeJS.ProcessEnv = {},
): Promise<Shown> {
  return programOnTerminal([process.execPath, PROGRAM, ...args], steps, variables)
}

/** Runs a line of bash on a pseudo terminal. In it, `"$0" "$1"` is the command `mlx-serving`. */
export function shellOnTerminal(line: string, variables: NodeJS.ProcessEnv = {}): Promise<Shown> {
  return programOnTerminal(['bash', '-c', line, process.execPath, PROGRAM], [], variables)
}

async function programOnTerminal(
  program: readonly string[],
  steps: readonly Step[],
  variables: NodeJS.ProcessEnv,
): Promise<Shown> {
  const environment: NodeJS.ProcessEnv = { ...process.env, TERM: 'xterm-256color' }
  // Node shows no colours on the terminal of a continuous integration.
  for (const name of ['CI', 'NO_COLOR', 'FORCE_COLOR', 'NODE_DISABLE_COLORS']) delete environment[name]
  const script = path.join(ROOT, '__test__', 'terminal.py')
  const child = spawn('python3', [script, JSON.stringify(steps), ...program], {
    env: { ...environment, ...variables },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const { shown: raw, code, missed } = JSON.parse(await text(child.stdout)) as Record<string, string | number | null>
  const shown = withoutControls(String(raw))
  if (missed !== null) throw new Error(`the terminal never showed ${JSON.stringify(missed)}:\n${shown}`)
  return { shown, raw: String(raw), code: Number(code) }
}

function withoutControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control sequences start with this character
  return text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '').replaceAll('\r', '')
}

/** An empty folder for one test. */
export async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mlx-serving-cli-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A server that runs as a command. */
export interface Serving {
  readonly url: string
  readonly exit: Promise<Exit>
  /** What it has written to stderr. */
  stderr(): string
  kill(signal: NodeJS.Signals): void
}

/** Starts a command that serves, and waits for its address. Killed at the end of the test if it still runs. */
export async function serving(args: readonly string[]): Promise<Serving> {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const exit: Exit = { code: null, signal: null, stdout: '', stderr: '' }
  child.stderr.on('data', data => (exit.stderr += data))
  const ended = new Promise<Exit>(resolve => {
    child.on('close', (code, signal) => resolve({ ...exit, code, signal }))
  })
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on('data', data => {
      exit.stdout += data
      if (exit.stdout.includes('\n')) resolve(exit.stdout.split('\n')[0]!)
    })
    ended.then(({ stderr }) => reject(new Error(`it ended: ${stderr}`)))
  })
  return { url, exit: ended, stderr: () => exit.stderr, kill: signal => child.kill(signal) }
}
