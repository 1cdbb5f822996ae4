// `mlx-serving chat` on a real terminal and in a pipe.

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { cli, emptyFolder, onTerminal, shellOnTerminal } from './cli.js'
import { PROMPT, speaking } from './speaking.js'

const SUM = 'What is 20 + 3?\r'
/** Reasoning and an answer, as a model writes them. */
const THOUGHT = '<think>\nTwelve and seven,\n\nthat is nineteen.\n</think>\n\nIt is 19.'
/** A simulated device that writes for some seconds: an answer can be stopped while it streams. */
const SLOW = ['--simulated', 'm3-max/gemma-2-27b-4bit', '--seed', '3', '--temperature', '1', '--max-tokens', '400']
const CTRL_C = '\u0003'
const CTRL_D = '\u0004'

test('on a terminal, chat answers, runs commands, and ends at Ctrl-D', async () => {
  const { shown, raw, code } = await onTerminal(
    ['chat', '--temperature', '0'],
    [
      { wait: '> ' },
      { send: SUM },
      { wait: '= 23.' },
      { wait: '> ' },
      { send: '/stats\r' },
      { wait: 'tokens/s' },
      { wait: 'messages' },
      { wait: '> ' },
      { send: '/nothing\r' },
      { wait: 'there is no command /nothing' },
      { send: '/help\r' },
      { wait: '/save FILE' },
      { send: CTRL_D },
    ],
  )
  expect(code).toBe(0)
  expect(shown).toContain('demo: /help lists the commands')
  // The terminal is left as it was: it does not mark pastes any more.
  expect(raw.lastIndexOf('\u001b[?2004l')).toBeGreaterThan(raw.lastIndexOf('\u001b[?2004h'))
})

test('Ctrl-C stops an answer, and a second Ctrl-C ends the command', async () => {
  const { shown, code } = await onTerminal(
    ['chat', ...SLOW],
    [
      { wait: '> ' },
      { send: 'Tell me everything.\r' },
      { wait: ' ' },
      { wait: ' ' },
      { send: CTRL_C },
      { wait: 'Ctrl-C again leaves' },
      { wait: '> ' },
      { send: CTRL_C },
    ],
  )
  expect(code).toBe(0)
  expect(shown.split('Ctrl-C again leaves')).toHaveLength(2)
})

test('the conversation keeps the text of an answer that was stopped', async () => {
  const { shown } = await onTerminal(
    ['chat', ...SLOW],
    [
      { wait: '> ' },
      { send: 'Tell me everything.\r' },
      { wait: ' ' },
      { wait: ' ' },
      { send: CTRL_C },
      { wait: '> ' },
      { send: '/stats\r' },
      { wait: 'ended by cancelled' },
      { wait: 'messages' },
      { wait: '> ' },
      { send: '/exit\r' },
    ],
  )
  expect(shown).toMatch(/messages +2\n/)
})

test('Ctrl-C drops a message that is being typed, and does not end the command', async () => {
  const { shown, code } = await onTerminal(
    ['chat', '--simulated', 'instant'],
    [
      { wait: '> ' },
      { send: 'half a quest' },
      { wait: 'half a quest' },
      { send: CTRL_C },
      { wait: '> ' },
      { send: '/stats\r' },
      { wait: 'messages' },
      { wait: '> ' },
      { send: CTRL_D },
    ],
  )
  expect(code).toBe(0)
  expect(shown).not.toContain('Ctrl-C again leaves')
  expect(shown).toMatch(/messages +0\n/)
})

test('a block between quotes, lines joined by a backslash, and a pasted text are one message each', async () => {
  const folder = await emptyFolder()
  const file = path.join(folder, 'chat.json')
  const block = '"""\rone\rtwo\r"""\r'
  await onTerminal(
    ['chat', '--simulated', 'instant', '-s', 'Be brief.'],
    [
      { wait: '> ' },
      { send: block },
      { wait: '> ' },
      { send: 'three\\\rfour\r' },
      { wait: '> ' },
      { send: '\u001b[200~five\rsix\u001b[201~' },
      { wait: 'six' },
      { send: '\r' },
      { wait: '> ' },
      { send: `/save ${file}\r` },
      { wait: 'saved 7 messages' },
      { send: CTRL_D },
    ],
  )
  const saved = JSON.parse(await readFile(file, 'utf8')) as { role: string; content: string }[]
  const asked = saved.filter(({ role }) => role !== 'assistant').map(({ content }) => content)
  expect(asked).toEqual(['Be brief.', 'one\ntwo', 'three\nfour', 'five\nsix'])
})

test('lines that are typed while an answer streams are the next messages', async () => {
  const { shown } = await onTerminal(
    ['chat', ...SLOW, '--max-tokens', '40'],
    [
      { wait: '> ' },
      { send: 'Tell me everything.\r' },
      { wait: ' ' },
      { send: '/stats\r/exit\r' },
      { wait: 'messages' },
    ],
  )
  expect(shown).toMatch(/messages +2\n/)
})

test('in a pipe each line is a message, and only answers are on stdout', async () => {
  const input = 'What is 20 + 3?\n/clear\nWhat is 20 + 4?'
  const { code, stdout, stderr } = await cli(['chat', '--temperature', '0'], { input })
  expect(code).toBe(0)
  expect(stdout).toMatch(/= 23\.\n.*= 24\.\n$/s)
  expect(stdout).not.toContain('> ')
  expect(stderr).toBe('the conversation is empty\n')
})

test('a message that is too long is an error, and the conversation continues', async () => {
  const long = 'word '.repeat(2000)
  const input = `${long}\nWhat is 20 + 3?\n`
  const { code, stdout, stderr } = await cli(['chat', '--temperature', '0'], { input })
  // A script finds out that an answer is missing.
  expect(code).toBe(2)
  expect(stderr).toMatch(/^ContextLengthExceeded: .*\n$/)
  expect(stdout).toMatch(/= 23\.\n$/)
})

test('in a pipe, errors are written with --quiet, too, and the exit code is that of the last one', async () => {
  const args = ['chat', '--quiet', '--simulated', 'instant']
  const input = `${'word '.repeat(9000)}\n/save /no/folder/chat.json\nHello\n`
  const { code, stderr } = await cli(args, { input })
  expect(stderr).toMatch(/^ContextLengthExceeded: .*\nENOENT: .*\n$/)
  expect(code).toBe(1)
  const unknown = await cli(args, { input: '/nothing\n' })
  expect(unknown).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^WrongUsage: there is no command \/nothing/),
  })
  expect((await cli(args, { input: '/save\n' })).code).toBe(2)
  expect((await cli([...args, '--debug'], { input: '/save\n' })).stderr).toMatch(/\n +at /)
  expect(await cli(args, { input: '/clear\n' })).toMatchObject({ code: 0, stderr: '' })
})

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('in a pipe, %s ends the conversation with exit code %i', async (signal, exit) => {
  const running = { input: 'Tell me everything.\n', kill: { signal, after: ' ' } }
  expect(await cli(['chat', ...SLOW], running)).toMatchObject({ code: exit, stderr: '' })
})

test.each(['instant', 'm3-max/gemma-2-27b-4bit'])(
  'on %s, reasoning is on stderr, apart from the answer, and a pipe has the answer alone',
  async profile => {
    const { model } = await speaking(THOUGHT, `{# </think> #}{{ messages[-1].content }} ${PROMPT}`)
    const args = ['chat', '-m', model.path, '--simulated', profile]
    const piped = await cli(args, { input: 'What is 12 + 7?\n' })
    expect(piped).toMatchObject({ code: 0, stdout: 'It is 19.\n', stderr: '' })
    const steps = [{ wait: '> ' }, { send: 'What is 12 + 7?\r' }, { wait: '19.' }, { wait: '> ' }, { send: CTRL_D }]
    const { shown } = await onTerminal(args, steps)
    expect(shown).toContain('\nTwelve and seven,\n\nthat is nineteen.\n\nIt is 19.\n')
  },
)

test('/stats in a pipe has no colours, even if stderr is a terminal', async () => {
  const file = path.join(await emptyFolder(), 'out')
  const { code } = await shellOnTerminal(`printf 'Hello\\n/stats\\n' | "$0" "$1" chat --simulated instant > '${file}'`)
  expect(code).toBe(0)
  const said = await readFile(file, 'utf8')
  expect(said).toMatch(/\d+ \+ \d+ tokens, first after/)
  expect(said).not.toContain('\u001b')
})

test('/stats counts the context of the conversation that is left', async () => {
  const input = 'What is 20 + 3?\n/stats\nWhat is 20 + 4?\n/stats\n/undo\n/stats\n/clear\n/stats\n'
  const { stdout } = await cli(['chat', '--temperature', '0'], { input })
  const contexts = [...stdout.matchAll(/\ncontext +(\d+) of 1,024 tokens\n/g)].map(([, tokens]) => Number(tokens))
  const [first = 0, second = 0] = contexts
  expect(second).toBeGreaterThan(first)
  expect(contexts).toEqual([first, second, first, 0])
  expect(first).toBeGreaterThan(0)
})

test('commands set the system message, remove the last question, and save Markdown', async () => {
  const file = path.join(await emptyFolder(), 'chat.md')
  const input = `/system Be kind.\nHello\nMistake\n/undo\n//slash\n/save ${file}\n`
  const { code } = await cli(['chat', '--simulated', 'instant'], { input })
  expect(code).toBe(0)
  const saved = await readFile(file, 'utf8')
  expect(saved).toMatch(/^## system\n\nBe kind\.\n\n## user\n\nHello\n\n## assistant\n/)
  expect(saved).toContain('## user\n\n/slash\n')
  expect(saved).not.toContain('Mistake')
})
