// Models on the command line: download, list, remove, and the checks of `doctor`.

import { createHash } from 'node:crypto'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { cli, emptyFolder, onTerminal } from './cli.js'
import { COMMIT, hub, NAME, WEIGHTS } from './hubserver.js'

const names = (stdout: string) =>
  (JSON.parse(stdout) as { models: { name: string; isPartial: boolean }[] }).models.map(({ name, isPartial }) =>
    isPartial ? `${name} partial` : name,
  )

test('pull downloads a model and prints its folder; list shows it, run uses it, rm removes it', async () => {
  const server = await hub()
  const pulled = await cli(['pull', NAME])
  expect(pulled.code).toBe(0)
  const folder = path.join(server.storage, 'snapshots', COMMIT)
  expect(pulled.stdout).toBe(`${folder}\n`)
  expect(pulled.stderr).toMatch(/^somebody\/tiny-chat: \d+ files, 3\.0\d MB\n$/)
  expect((await cli(['list'])).stdout).toMatch(
    /^NAME .*\ndemo +llama .*\nsomebody\/tiny-chat +llama +float32 .* ready\n$/,
  )
  expect((await cli(['run', '-m', NAME, 'What is 20 + 3?', '-t', '0'])).stdout).toMatch(/= 23\.\n$/)
  expect((await cli(['rm', NAME])).stderr).toMatch(/^WrongUsage: .*--yes/)
  expect(names((await cli(['list', '--json'])).stdout)).toEqual(['demo', NAME])
  const removed = await cli(['rm', NAME, '--yes', '--json'])
  expect(JSON.parse(removed.stdout)).toMatchObject({ removed: NAME, bytes: expect.any(Number) })
  expect(names((await cli(['list', '--json'])).stdout)).toEqual(['demo'])
  expect(await readdir(server.cacheFolder)).toEqual([])
})

test('every command takes demo for the bundled model, unless a folder of that name has a model', async () => {
  await hub()
  const cwd = await emptyFolder()
  await mkdir(path.join(cwd, 'demo'))
  const at = { cwd, input: 'What is 20 + 3?\n' }
  expect((await cli(['run', '-m', 'demo', '-t', '0'], at)).stdout).toMatch(/= 23\.\n$/)
  expect((await cli(['chat', '-m', 'demo', '-t', '0'], at)).stdout).toMatch(/= 23\.\n$/)
  const short = ['--concurrency', '1', '--rounds', '1', '--max-tokens', '2', '--duplicates', '0', '--json']
  expect(JSON.parse((await cli(['bench', '-m', 'demo', ...short], at)).stdout).model.id).toBe('demo')
  expect((await cli(['show', 'demo'], at)).code).toBe(0)
  await writeFile(path.join(cwd, 'demo', 'config.json'), '{"model_type":"nothing"}')
  expect((await cli(['run', '-m', 'demo'], at)).code).toBe(3)
  expect((await cli(['show', 'demo'], at)).stdout).toMatch(/\nfamily +nothing\n/)
})

test('on a terminal, pull shows its progress, and rm asks for confirmation', async () => {
  const server = await hub()
  let isFirst = true
  // The connection breaks 400 ms after the first half, so the bar has time to appear. Another attempt gets the rest.
  server.fault = (request, response, content) => {
    if (!isFirst || !request.url?.endsWith(WEIGHTS)) return false
    isFirst = false
    response.writeHead(200, { 'content-length': content.length })
    response.write(content.subarray(0, content.length / 2), () => setTimeout(() => response.destroy(), 400))
    return true
  }
  const { shown, code } = await onTerminal(['pull', NAME], [{ wait: 'Downloading' }, { wait: ' of 3.0' }])
  expect(code).toBe(0)
  expect(shown).toMatch(/Downloading +[━─]+ +\d+ % +\d/)
  expect((await onTerminal(['pull', NAME, '--quiet'], [])).shown).toBe(
    `${path.join(server.storage, 'snapshots', COMMIT)}\n`,
  )
  await onTerminal(['rm', NAME], [{ wait: '[y/N] ' }, { send: 'n\r' }])
  expect(names((await cli(['list', '--json'])).stdout)).toContain(NAME)
  expect((await onTerminal(['rm', NAME], [{ wait: '[y/N] ' }, { send: '\u0003' }])).code).toBe(130)
  expect(names((await cli(['list', '--json'])).stdout)).toContain(NAME)
  await onTerminal(['rm', NAME], [{ wait: '[y/N] ' }, { send: 'y\r' }, { wait: 'removed' }])
  expect(names((await cli(['list', '--json'])).stdout)).not.toContain(NAME)
})

test('a download that Ctrl-C interrupted resumes where it stopped', async () => {
  const server = await hub()
  const half = server.files.get(WEIGHTS)!.length / 2
  server.fault = (request, response, content) => {
    if (!request.url?.endsWith(WEIGHTS) || request.headers.range !== undefined) return false
    response.writeHead(200, { 'content-length': content.length })
    response.write(content.subarray(0, half))
    return true
  }
  const steps = [{ wait: 'Downloading' }, { wait: ' 50 %' }, { send: '\u0003' }]
  const { code } = await onTerminal(['pull', NAME], steps)
  expect(code).toBe(130)
  const blobs = await readdir(path.join(server.storage, 'blobs'))
  expect(blobs.filter(name => name.endsWith('.lock'))).toEqual([])
  const hash = createHash('sha256').update(server.files.get(WEIGHTS)!).digest('hex')
  expect(blobs).toContain(`${hash}.incomplete`)
  expect(names((await cli(['list', '--json'])).stdout)).toEqual(['demo', `${NAME} partial`])
  expect((await cli(['pull', NAME])).code).toBe(0)
  expect(server.requestsOf(WEIGHTS).at(-1)).toContain(`bytes=${half}-`)
})

test('pull exits with 4 if the hub lacks the model and with 2 for a wrong name, rm with 3 for an unknown model', async () => {
  const server = await hub()
  server.apiFault = (_, response) => Boolean(response.writeHead(404).end())
  const { code, stderr, stdout } = await cli(['pull', NAME, '--json'])
  expect({ code, stdout }).toEqual({ code: 4, stdout: '' })
  expect(stderr).toMatch(/^DownloadError: .*404.*doctor.*\n$/)
  expect((await cli(['pull', 'no-name'])).code).toBe(2)
  expect((await cli(['rm', NAME, '--yes'])).code).toBe(3)
})

test('list shows broken models of the cache, without their control characters', async () => {
  const server = await hub()
  const folder = path.join(server.cacheFolder, 'models--a--b', 'snapshots', COMMIT)
  await mkdir(folder, { recursive: true })
  await writeFile(path.join(folder, 'config.json'), JSON.stringify({ model_type: '\u001b[31mred' }))
  await mkdir(path.join(server.cacheFolder, 'models--c--d', 'snapshots', COMMIT), { recursive: true })
  await mkdir(path.join(server.cacheFolder, 'datasets--e--f'))
  // The Hugging Face tools leave these files of an interrupted download.
  const begun = path.join(server.cacheFolder, 'models--g--h')
  await mkdir(path.join(begun, 'snapshots', COMMIT), { recursive: true })
  await mkdir(path.join(begun, 'blobs'))
  await writeFile(path.join(begun, 'snapshots', COMMIT, 'config.json'), '{}')
  await writeFile(path.join(begun, 'blobs', 'abc.incomplete'), 'half')
  const { stdout } = await cli(['list'])
  expect(stdout).toMatch(
    /\na\/b +\[31mred +unknown +0 B .* ready\nc\/d +unknown +unknown +0 B .* not complete\ng\/h .* 4 B .* not complete\n$/,
  )
})

test('doctor checks the machine, and fails if a check fails', async () => {
  const server = await hub()
  const { code, stdout } = await cli(['doctor'])
  expect(stdout).toMatch(/^√ Node\.js .*\n√ platform .*\n√ addon .*\n√ engine +the bundled model answers/)
  expect(stdout).toMatch(/\n√ cache .*\n.*\n√ hub +http:\/\/127\.0\.0\.1:\d+ answers/)
  expect(code).toBe(0)
  await writeFile(path.join(server.cacheFolder, 'file'), '')
  const variables = { HF_HUB_CACHE: path.join(server.cacheFolder, 'file', 'below'), HF_ENDPOINT: 'http://127.0.0.1:9' }
  const failed = await cli(['doctor', '--json'], { variables })
  const { ok, checks } = JSON.parse(failed.stdout) as { ok: boolean; checks: Record<string, string>[] }
  expect({ ok, code: failed.code }).toEqual({ ok: false, code: 1 })
  expect(failed.stderr).toMatch(/^DoctorFailed: 2 of 8 checks failed\n$/)
  const states = Object.fromEntries(checks.map(({ name, state }) => [name, state]))
  expect(states).toMatchObject({ engine: 'ok', cache: 'failed', disk: 'failed', hub: 'warning' })
  expect(checks.find(({ name }) => name === 'hub')?.detail).toBe('http://127.0.0.1:9 cannot be reached: bad port')
  expect(checks.find(({ name }) => name === 'cache')?.remedy).toContain('HF_HUB_CACHE')
})

test('doctor reports a wrong variable as a failed engine', async () => {
  await hub()
  const { stdout, code } = await cli(['doctor'], { variables: { MLX_SERVING_MAX_PENDING: 'many' } })
  expect(code).toBe(1)
  expect(stdout).toMatch(/\n× engine +.*MLX_SERVING_MAX_PENDING/)
})
