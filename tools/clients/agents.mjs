// `node tools/clients/agents.mjs`: Claude Code and Codex, as npm has them, against a server with scripted answers: a call of their
// shell tool, and then a sentence with its result. Not part of CI: the two take 800 MB. They see a home folder of their own, no
// key, and no other service. Instructions of their own would not fit the context of the simulated device, so they get short ones.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { build } from '../build/build.mjs'
import { cached } from '../build/cache.mjs'
import { quiet } from '../build/command.mjs'
import { Failure, main } from '../build/failure.mjs'

const PACKAGES = ['@anthropic-ai/claude-code@2.1.332', '@openai/codex@0.171.0']
const INSTRUCTIONS = 'You use your tools.'
const QUESTION = 'What does echo say?'
const LIMIT_MS = 120_000

async function installed() {
  const folder = cached('tools', 'agents')
  mkdirSync(folder, { recursive: true })
  const packages = join(folder, 'node_modules')
  if (!existsSync(join(packages, '.package-lock.json'))) {
    writeFileSync(join(folder, 'package.json'), '{"private": true}')
    await quiet('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...PACKAGES], { cwd: folder })
  }
  return packages
}

/** An agent: the call that the model makes, and how the program is started. */
const claudeCode = {
  name: 'Claude Code',
  call: { name: 'Bash', arguments: { command: 'echo seventeen', description: 'Says it' } },
  start({ programs, url }) {
    const program = join(programs, '@anthropic-ai', 'claude-code', 'cli-wrapper.cjs')
    const tools = ['--tools', 'Bash', '--allowedTools', 'Bash(echo:*)']
    return {
      args: [program, '-p', QUESTION, '--system-prompt', INSTRUCTIONS, ...tools, '--output-format', 'json'],
      env: {
        ANTHROPIC_BASE_URL: url,
        ANTHROPIC_AUTH_TOKEN: 'none',
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
        DISABLE_AUTOUPDATER: '1',
      },
    }
  },
}

const codex = {
  name: 'Codex',
  call: { name: 'exec_command', arguments: { cmd: 'echo seventeen' } },
  start({ programs, url, home }) {
    mkdirSync(join(home, '.codex'))
    writeFileSync(join(home, 'instructions.md'), INSTRUCTIONS)
    writeFileSync(join(home, '.codex', 'config.toml'), configOf(url, join(home, 'instructions.md')))
    const program = join(programs, '@openai', 'codex', 'bin', 'codex.js')
    // The machine on which this runs may have no sandbox for commands; the only command is `echo`.
    const flags = ['--skip-git-repo-check', '--dangerously-bypass-approvals-and-sandbox', '--json']
    return { args: [program, 'exec', ...flags, QUESTION], env: {} }
  },
}

const configOf = (url, instructions) => `model = "demo"
model_provider = "mlx"
model_instructions_file = ${JSON.stringify(instructions)}

[model_providers.mlx]
name = "mlx-serving"
base_url = "${url}/v1"
wire_api = "responses"
`

await main(async () => {
  await build()
  const programs = await installed()
  for (const agent of [claudeCode, codex]) await tryOut(agent, programs)
})

async function tryOut({ name, call, start }, programs) {
  const { serve } = (await import('../../dist/server/index.js')).default
  const answers = ({ messages }) => {
    const last = messages.at(-1)
    return last.role === 'tool'
      ? { text: `It says ${String(last.content).match(/seventeen/)}.` }
      : { toolCalls: [call] }
  }
  const backend = { simulated: 'instant', answers }
  const server = await serve({ port: 0, engine: { backend }, aliases: { '*': 'demo' }, signals: [] })
  const home = mkdtempSync(join(tmpdir(), 'mlx-serving-agent-'))
  try {
    const { args, env } = start({ programs, url: server.url, home })
    const child = spawn(process.execPath, args, {
      cwd: home,
      env: { PATH: process.env.PATH, HOME: home, TERM: 'dumb', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: LIMIT_MS,
    })
    const [out, notes] = await Promise.all([text(child.stdout), text(child.stderr)])
    if (!out.includes('It says seventeen.')) throw new Failure(`${name} did not come to its answer:\n${out}\n${notes}`)
    console.log(`${name}: called its tool and answered "It says seventeen."`)
  } finally {
    await server.close({ drainMs: 0 })
    rmSync(home, { recursive: true, force: true })
  }
}
