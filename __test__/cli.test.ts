// `mlx-serving` with pipes: answers, exit codes, one line for an error, and the end by a signal or a closed pipe.

import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { cli, emptyFolder, onTerminal, PROGRAM, shellOnTerminal } from './cli.js'
import { copiesOfDemo } from './folders.js'
import { PROMPT, speaking } from './speaking.js'
import { ROOT } from './support.js'

const SUM = ['run', 'What is', '20 + 3?', '--temperature', '0']
const SLOW = ['--simulated', 'm3-max/gemma-2-27b-4bit', '--seed', '3', '--temperature', '1', '--max-tokens', '400']
const { version } = require('../package.json') as { version: string }

test('run streams the answer to stdout, and nothing else', async () => {
  const { code, stdout, stderr } = await cli(SUM)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/= 23\.\n$/)
})

test('run takes the prompt from stdin, alone or in the place of a dash', async () => {
  const alone = await cli(['run', '--temperature', '0'], { input: 'What is 20 + 3?\n' })
  expect(alone.stdout).toMatch(/= 23\.\n$/)
  const joined = await cli(['run', '-', 'What is 20 + 3?', '--temperature', '0', '--json'], { input: 'Hello.\n' })
  const apart = await cli(['run', '--temperature', '0', '--json'], { input: 'Hello.\n What is 20 + 3?' })
  expect(usageOf(joined.stdout)).toEqual(usageOf(apart.stdout))
})

const usageOf = (stdout: string) => (JSON.parse(stdout) as { usage: unknown }).usage

test('run --json has the whole result, with a schema its value', async () => {
  const file = path.join(await emptyFolder(), 'schema.json')
  await writeFile(file, JSON.stringify({ enum: [17, 71] }))
  const { stdout } = await cli(['run', 'Hello', '--schema', file, '--json', '--seed', '7'])
  const result = JSON.parse(stdout) as Record<string, unknown>
  expect(result).toMatchObject({ model: 'demo', seed: 7, served: 'computed', parsed: expect.any(Number) })
  expect(result.tokens).toHaveLength((result.usage as { outputTokens: number }).outputTokens)
})

test('params of the command line reach the engine', async () => {
  const { stdout, stderr } = await cli([...SUM, '--max-tokens', '3', '--json', '--stats'])
  expect(JSON.parse(stdout)).toMatchObject({ finishReason: 'length', usage: { outputTokens: 3 } })
  expect(stderr).toMatch(/ \+ 3 tokens, first after .*, ended by length\n$/)
  const stopped = await cli([...SUM, '--stop', '= 2'])
  expect(stopped.stdout).not.toContain('= 2')
})

test('--stats prints its figures with --quiet, too', async () => {
  const { stderr } = await cli([...SUM, '--stats', '--quiet'])
  expect(stderr).toMatch(/^\d+ \+ \d+ tokens, first after .*, ended by stop\n$/)
})

test('warnings of a model are notes: a pipe gets them, and --quiet leaves them out', async () => {
  const { odd } = await copiesOfDemo('odd')
  await writeFile(path.join(odd, 'generation_config.json'), '{"temperature": -1}')
  const args = ['run', 'x', '-m', odd, '--simulated', 'instant']
  expect((await cli(args)).stderr).toMatch(/^generation_config\.json.*temperature.*\n$/)
  expect((await cli([...args, '--quiet'])).stderr).toBe('')
})

test('run refuses a system message that the prompt has no place for', async () => {
  const raw = await cli(['run', 'x', '--raw', '-s', 'Be kind.'])
  expect(raw).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(/^WrongUsage: .*--raw.*--system/) })
  // A model without a chat template continues the prompt as plain text.
  const folder = await withoutTemplate()
  const plain = await cli(['run', 'x', '-m', folder, '--simulated', 'instant', '-s', 'Be kind.'])
  expect(plain).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(/^WrongUsage: .*--system/) })
  expect((await cli(['run', 'x', '-m', folder, '--simulated', 'instant'])).code).toBe(0)
})

/** A copy of the demo model whose chat template is missing. */
async function withoutTemplate(): Promise<string> {
  const { plain } = await copiesOfDemo('plain')
  await writeFile(path.join(plain, 'tokenizer_config.json'), '{"eos_token": "<|end|>"}')
  return plain
}

test('reasoning without an answer ends its line on the terminal', async () => {
  const { model } = await speaking('<think>\nIt is hard.', `{# </think> #}${PROMPT}`)
  const { shown } = await onTerminal(['run', 'x', '-m', model.path, '--simulated', 'instant', '--stats'], [])
  expect(shown).toMatch(/^It is hard\.\n/)
})

test.each([
  ['an unknown option', ['run', 'x', '--nope'], 2, /^WrongUsage: unknown option '--nope' \(see --help\)\n$/],
  ['an unknown command', ['rum'], 2, /^WrongUsage: unknown command 'rum' \(Did you mean one of .*run.*\)\n$/],
  ['a wrong number', ['run', 'x', '-t', '3'], 2, /^WrongUsage: .*'3' is invalid.*from 0 to 2.*\n$/],
  ['a value that the engine refuses', ['run', 'x', '--simulated', 'none'], 2, /^ConfigError: .*none.*\n$/],
  ['no such model', ['run', 'x', '-m', '/no/folder'], 3, /^ModelNotFound: .*\/no\/folder.*mlx-serving list.*\n$/],
  ['a model that is not in the cache', ['run', 'x', '-m', 'a/b'], 3, /^ModelNotFound: .*HF_HUB_OFFLINE.*\n$/],
  ['a prompt that is too long', ['run', 'word '.repeat(3000)], 2, /^ContextLengthExceeded: .*\n$/],
  ['a schema that is not there', ['run', 'x', '--schema', '/no/file'], 2, /^WrongUsage: .*\/no\/file.*\n$/],
  ['a timeout that is too short', ['run', 'x', ...SLOW, '--timeout', '0.3'], 124, /^Timeout: .*--timeout.*\n$/],
  ['an unknown shell', ['completion', 'tcsh'], 2, /^WrongUsage: .*tcsh.*bash, zsh, fish.*\n$/],
  ['a shell that is named like a property', ['completion', 'constructor'], 2, /^WrongUsage: .*bash, zsh, fish.*\n$/],
  ['a param that the engine refuses', ['run', 'x', '--top-p', '0'], 2, /^InvalidParams: `--top-p` must be .*\n$/],
  ['an empty stop text', ['run', 'x', '--stop', ''], 2, /^InvalidParams: `--stop` has an empty string.*\n$/],
  ['a runtime file that is not there', ['run', 'x', '--config', '/no/file'], 2, /^ConfigError: `--config` names.*\n$/],
])('%s: one line on stderr with the code, and the exit code', async (_, args, exit, line) => {
  const { code, stderr } = await cli(args, { variables: { HF_HUB_OFFLINE: '1' } })
  expect(stderr).toMatch(line)
  expect(code).toBe(exit)
})

test('an error shows no control characters of a name', async () => {
  const { stderr } = await cli(['run', 'x', '-m', '/no/\u001b[31mfolder\nsecond'])
  expect(stderr).toMatch(/^ModelNotFound: .*\/no\/\[31mfolder second.*\n$/)
})

test('--debug shows the stack of an error', async () => {
  const { stderr } = await cli(['run', 'x', '-m', '/no/folder', '--debug'])
  expect(stderr).toMatch(/\n +at /)
})

test('without a command the help is shown, as a failure', async () => {
  const { code, stderr } = await cli([])
  expect(code).toBe(2)
  expect(stderr).toMatch(/^Usage: mlx-serving/)
})

test('help and version need no addon', async () => {
  const script = `process.argv.splice(1, 0, 'x'); process.on('exit', () => console.error(
    process.report.getReport().sharedObjects.filter(file => file.includes('mlx')).length, 'libraries'))
    require(${JSON.stringify(PROGRAM)})`
  const run = (...args: string[]) => promisify(execFile)(process.execPath, ['--eval', script, '--', ...args])
  expect(await run('--version')).toEqual({ stdout: `${version}\n`, stderr: '0 libraries\n' })
  const { stdout, stderr } = await run('help', 'run')
  expect(stdout).toContain('Examples:')
  expect(stderr).toBe('0 libraries\n')
})

test('the command ends without an error when the reader of its output closes the pipe', async () => {
  const line = `"$0" "$1" run Hello --simulated m3-max/gemma-2-27b-4bit | head -c 1`
  const { stdout, stderr } = await promisify(execFile)('bash', [
    '-o',
    'pipefail',
    '-c',
    line,
    process.execPath,
    PROGRAM,
  ])
  expect(stdout).toHaveLength(1)
  expect(stderr).toBe('')
})

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends an answer, with exit code %i', async (signal, exit) => {
  const { code, stdout, stderr } = await cli(['run', 'Hello', ...SLOW], { kill: { signal, after: ' ' } })
  expect(code).toBe(exit)
  expect(stdout).toMatch(/\n$/)
  expect(stderr).toBe('')
})

test('a terminal gets no control characters of a model, a pipe gets the text as it is', async () => {
  const file = path.join(await emptyFolder(), 'schema.json')
  // U+009B begins a control sequence, as ESC [ does.
  await writeFile(file, JSON.stringify({ const: 'red: \u009b31m' }))
  const args = ['run', 'x', '--schema', file, '--stats']
  expect((await cli(args)).stdout).toBe('"red: \u009b31m"\n')
  const { shown, raw } = await onTerminal(args, [{ wait: 'ended by' }])
  expect(shown).toContain('"red: 31m"\n')
  // Our own colours are there.
  expect(raw).toContain('\u001b[2m')
  expect((await onTerminal(args, [], { NO_COLOR: '1' })).raw).not.toContain('\u001b[2m')
  expect((await onTerminal([...args, '--no-color'], [])).raw).not.toContain('\u001b[2m')
})

test('--no-color has an effect on errors of the command line, and is stronger than FORCE_COLOR', async () => {
  const wrong = ['run', '--temperature', '5', 'x']
  expect((await onTerminal(wrong, [])).raw).toContain('\u001b[31m')
  expect((await onTerminal(['--no-color', ...wrong], [])).raw).not.toContain('\u001b[')
  expect((await onTerminal([...wrong, '--no-color'], [], { FORCE_COLOR: '1' })).raw).not.toContain('\u001b[')
  // After `--`, it is a word of the prompt.
  const word = ['run', '--simulated', 'instant', '--stats', '--', '--no-color']
  expect((await onTerminal(word, [])).raw).toContain('\u001b[2m')
})

test('reasoning is on the terminal of stderr, and not in a redirected stdout', async () => {
  const file = path.join(await emptyFolder(), 'answer')
  const { model } = await speaking(`<think>\nIt is easy.\n</think>\n\nYes.`, `{# </think> #}${PROMPT}`)
  const line = `"$0" "$1" run x -m '${model.path}' --simulated instant > '${file}'`
  expect((await shellOnTerminal(line)).shown).toBe('It is easy.\n\n')
  expect(await readFile(file, 'utf8')).toBe('Yes.\n')
})

test.each(['bash', 'zsh', 'fish'])('completions for %s name every command and its options', async shell => {
  const { stdout } = await cli(['completion', shell])
  for (const word of ['run', 'chat', 'pull', 'doctor', 'max-tokens', 'revision', 'debug'])
    expect(stdout).toContain(word)
})

test('the completions for bash complete a command and an option', async () => {
  const script = `eval "$("$0" "$1" completion bash)"
    complete_for() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _mlx_serving; echo "\${COMPREPLY[@]}"; }
    complete_for mlx-serving ru; complete_for mlx-serving run --max`
  const { stdout } = await promisify(execFile)('bash', ['-c', script, process.execPath, PROGRAM], { cwd: ROOT })
  expect(stdout).toBe('run\n--max-tokens\n')
})
