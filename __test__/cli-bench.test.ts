// `mlx-serving bench` and `mlx-serving serve`.

import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { cli, emptyFolder, onTerminal, serving } from './cli.js'

const INSTANT = ['--simulated', 'instant']

interface Bench {
  model: { id: string; computeType: string }
  points: { concurrency: number; duplicates: number; requests: number; tokensPerSecond: number; shared: number }[]
}

test('bench sweeps the concurrency, without and with duplicates', async () => {
  const args = ['bench', ...INSTANT, '--concurrency', '1,4', '--rounds', '3', '--max-tokens', '8', '--json']
  const { code, stdout } = await cli(args)
  expect(code).toBe(0)
  const { model, points } = JSON.parse(stdout) as Bench
  expect(model).toEqual({ id: 'demo', family: 'llama', computeType: 'simulated' })
  expect(points.map(({ concurrency, duplicates, requests }) => [concurrency, duplicates, requests])).toEqual([
    [1, 0, 3],
    [4, 0, 12],
    [1, 0.5, 3],
    [4, 0.5, 12],
  ])
  expect(points.every(({ tokensPerSecond }) => tokensPerSecond > 0)).toBe(true)
  // Half of twelve requests repeat another one: they share its answer, while it runs or from the cache.
  expect(points.map(({ shared }) => shared)).toEqual([0, 0, expect.closeTo(1 / 3), 0.5])
})

test('bench writes a table, and an SVG chart whose description has each point', async () => {
  const file = path.join(await emptyFolder(), 'rates.svg')
  const args = ['bench', '--concurrency', '1,2', '--rounds', '1', '--max-tokens', '4', '--duplicates', '0']
  const { stdout } = await cli([...args, '--svg', file])
  expect(stdout).toMatch(/^AT A TIME +DUPLICATES +TOKENS\/S .*\n +1 +0 % .*\n +2 +0 % .*\n$/)
  const svg = await readFile(file, 'utf8')
  expect(svg).toMatch(/<desc id="desc">1 at a time: .* 2 at a time: .*<\/desc>/)
  expect(svg).toContain('prefers-color-scheme: dark')
  expect(svg).not.toMatch(/NaN|undefined/)
})

test('bench refuses a concurrency that is no number', async () => {
  const { code, stderr } = await cli(['bench', '--concurrency', '1,many'])
  expect(code).toBe(2)
  expect(stderr).toMatch(/^WrongUsage: .*'1,many' is invalid.*from 1 to 512.*\n$/)
})

test('serve prints its address, and at SIGTERM completes its answers and ends', async () => {
  const server = await serving([
    'serve',
    '--port',
    '0',
    '--simulated',
    'm3-max/gemma-2-27b-4bit',
    '--alias',
    'gpt=demo',
  ])
  const messages = [{ role: 'user', content: 'Hello' }]
  // The answer takes about 2 s.
  const body = { model: 'gpt', stream: true, max_tokens: 40, ignore_eos: true, messages }
  const answer = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(body) })
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader()
  // The answer has begun, and is not complete.
  expect((await reader.read()).value).not.toContain('[DONE]')
  server.kill('SIGTERM')
  let rest = ''
  for (let part = await reader.read(); !part.done; part = await reader.read()) rest += part.value
  expect(rest).toMatch(/"finish_reason":"(stop|length)".*\[DONE\]\s*$/s)
  expect(await server.exit).toMatchObject({ code: 0, stdout: `${server.url}\n`, stderr: '' })
})

test('serve serves the bundled model by its name, with a timeout that is no whole number of milliseconds', async () => {
  const server = await serving(['serve', '--port', '0', '-m', 'demo', ...INSTANT, '--timeout', '16.1'])
  const { data } = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { id: string }[] }
  expect(data.map(({ id }) => id)).toEqual(['demo'])
  server.kill('SIGTERM')
  expect((await server.exit).code).toBe(0)
})

test('serve with keys answers only requests with one of the keys', async () => {
  const file = path.join(await emptyFolder(), 'keys')
  await writeFile(file, '# ours\nsecret-one\n\nsecret-two\n')
  const server = await serving(['serve', '--port', '0', ...INSTANT, '--keys', file])
  const ask = (key: string) => fetch(`${server.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })
  expect((await ask('secret-two')).status).toBe(200)
  expect((await ask('other')).status).toBe(401)
  server.kill('SIGINT')
  expect((await server.exit).code).toBe(0)
})

test.each([
  [
    'beyond loopback and without keys',
    ['--host', '0.0.0.0'],
    2,
    /^ConfigError: `--keys` are needed .* `--allow-anonymous` .*docs\/server\.md.*\n$/,
  ],
  ['with an empty origin', ['--origin', ''], 2, /^ConfigError: `--origin` must be a text .*docs\/server\.md.*\n$/],
  ['with an alias of nothing', ['--alias', 'gpt='], 2, /^ConfigError: `--alias` must be a text .*\n$/],
  ['with a file of keys that does not exist', ['--keys', '/no/file'], 2, /^WrongUsage: .*\/no\/file/],
  ['with an alias without a model', ['--alias', 'gpt'], 2, /^WrongUsage: --alias gpt must be NAME=MODEL/],
  ['with a model that does not exist', ['-m', '/no/folder'], 3, /^ModelNotFound: /],
])('serve %s is an error, and the process ends', async (_, args, exit, line) => {
  const { code, stderr } = await cli(['serve', '--port', '0', ...INSTANT, ...args])
  expect({ code, stderr }).toEqual({ code: exit, stderr: expect.stringMatching(line) })
})

test('serve reports a port that is taken, with a hint', async () => {
  const server = await serving(['serve', '--port', '0', ...INSTANT])
  const { port } = new URL(server.url)
  const { code, stderr } = await cli(['serve', '--port', port, ...INSTANT])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^EADDRINUSE: .*--port.*\n$/) })
  server.kill('SIGTERM')
  await server.exit
})

test('on a terminal, serve shows how to ask, and Ctrl-C ends it', async () => {
  const { shown, code } = await onTerminal(
    ['serve', '--port', '0', ...INSTANT],
    [{ wait: 'http://127.0.0.1:' }, { wait: '/v1/chat/completions' }, { wait: '"Hello"' }, { send: '\u0003' }],
  )
  expect(code).toBe(0)
  expect(shown).toContain('demo: the APIs of OpenAI and Anthropic at http://127.0.0.1:')
})
