// `mlx-serving chat` on a real terminal and in a pipe.

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { cli, emptyFolder, onTerminal } from './cli.js'

const SUM = 'What is 20 + 3?\r'
/** A simulated device that writes for some seconds: an answer can be stopped while it streams. */
const SLOW = ['--simulated', 'm3-max/gemma-2-27b-4bit', '--seed', '3', '--temperature', '1', '--max-tokens', '400']
const CTRL_C = '\u0003'
const CTRL_D = '\u0004'

test('a conversation on a terminal: it answers, has commands, and Ctrl-D leaves', async () => {
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

test('Ctrl-C stops an answer, and a second one leaves', async () => {
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

test('after an answer was stopped, the conversation goes on with its part', async () => {
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

test('Ctrl-C drops what is typed, without leaving', async () => {
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

test('a block between quotes, lines that go on, and a pasted text are one message each', async () => {
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

test('what is typed while an answer streams is the next message', async () => {
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

test('an error does not end the conversation: a message that is too long', async () => {
  const long = 'word '.repeat(2000)
  const input = `${long}\nWhat is 20 + 3?\n`
  const { code, stdout, stderr } = await cli(['chat', '--temperature', '0'], { input })
  expect(code).toBe(0)
  expect(stderr).toMatch(/^ContextLengthExceeded: .*\n$/)
  expect(stdout).toMatch(/= 23\.\n$/)
})

test('a conversation can be changed: the last question is forgotten, the system message is set, Markdown is saved', async () => {
  const file = path.join(await emptyFolder(), 'chat.md')
  const input = `/system Be kind.\nHello\nMistake\n/undo\n//slash\n/save ${file}\n`
  const { code } = await cli(['chat', '--simulated', 'instant'], { input })
  expect(code).toBe(0)
  const saved = await readFile(file, 'utf8')
  expect(saved).toMatch(/^## system\n\nBe kind\.\n\n## user\n\nHello\n\n## assistant\n/)
  expect(saved).toContain('## user\n\n/slash\n')
  expect(saved).not.toContain('Mistake')
})
