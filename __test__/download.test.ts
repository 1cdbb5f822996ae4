// Models of a hub. A server on this machine stands for the hub: it drops connections, stalls, sends wrong content and
// refuses requests.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { DownloadError, downloadModel, InvalidParamsError, type LoadProgress, ModelError } from 'mlx-serving'
import { expect, onTestFinished, test, vi } from 'vitest'
import { missingBytes } from '../lib/download/snapshot.js'
import { COMMIT, type Fault, type HubServer, hub, NAME, WEIGHTS } from './hubserver.js'
import { failure, ROOT, simulated, until, withMlx } from './support.js'

/** Sends the rest of the file up to `numBytes`, then closes the connection. */
function cutAfter(numBytes: number): Fault {
  return (request, response, content) => {
    const start = Number(/\d+/.exec(request.headers.range ?? '0')?.[0])
    if (start + numBytes >= content.length) return false
    const headers = { 'content-length': content.length - start }
    const range = { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }
    response.writeHead(start > 0 ? 206 : 200, { ...headers, ...(start > 0 && range) })
    response.write(content.subarray(start, start + numBytes), () => response.destroy())
    return true
  }
}

/** A fault for the weights only, for the first `times` requests. */
function onWeights(fault: Fault, times = Number.POSITIVE_INFINITY): Fault {
  let count = 0
  return (request, response, content) =>
    (request.url?.endsWith(WEIGHTS) ?? false) && count++ < times && fault(request, response, content)
}

/** The hash of each file. Comparing the content itself would be slow. */
function hashes(files: Iterable<[string, Buffer]>): Record<string, string> {
  return Object.fromEntries(
    [...files].map(([name, content]) => [name, createHash('sha256').update(content).digest('hex')]),
  )
}

async function contentOf(folder: string): Promise<[string, Buffer][]> {
  const names = await readdir(folder)
  return Promise.all(names.map(async name => [name, await readFile(path.join(folder, name))] as [string, Buffer]))
}

/** Expects the whole model in `folder`, and nothing unfinished in the cache. */
async function expectWhole(server: HubServer, folder: string): Promise<void> {
  const needed = [...server.files].filter(([name]) => name !== 'README.md' && name !== 'pytorch_model.bin')
  expect(hashes(await contentOf(folder))).toEqual(hashes(needed))
  const blobs = await readdir(path.join(server.storage, 'blobs'))
  expect(blobs.filter(name => name.includes('incomplete'))).toEqual([])
}

/** Removes the weights from the cache. Returns where they were. */
async function removeWeights(server: HubServer): Promise<string> {
  const blobs = path.join(server.storage, 'blobs')
  const [blob] = (await readdir(blobs)).filter(name => name.length === 64)
  const file = path.join(blobs, blob as string)
  await rm(file)
  return file
}

test('loadModel downloads a model of the hub, answers with it, and names it by its repository', async () => {
  const server = await hub()
  const { engine } = await withMlx()
  const model = await engine.loadModel(NAME)
  expect(model).toMatchObject({ id: NAME, path: path.join(server.storage, 'snapshots', COMMIT) })
  const messages = [{ role: 'user', content: 'What is 30 + 4?' }]
  expect((await engine.generate({ model: NAME, messages })).text).toContain('34')
  expect(await engine.loadModel(NAME)).toBe(model)
  expect(server.requests.filter(request => request.startsWith('/api/'))).toHaveLength(1)
})

test('the cache has the layout of the Hugging Face tools, and only the files that a model needs', async () => {
  const server = await hub()
  const folder = await downloadModel(NAME)
  expect(folder).toBe(path.join(server.storage, 'snapshots', COMMIT))
  await expectWhole(server, folder)
  expect(await readFile(path.join(server.storage, 'refs', 'main'), 'utf8')).toBe(COMMIT)
  expect(await readlink(path.join(folder, 'config.json'))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/)
  expect(await readlink(path.join(folder, WEIGHTS))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/)
})

test('files that are in the cache are not requested again', async () => {
  const server = await hub()
  await downloadModel(NAME)
  const count = server.requests.length
  await downloadModel(NAME)
  expect(server.requests.slice(count)).toEqual([expect.stringMatching('^/api/')])
  // A commit never changes, so the hub is not asked.
  await downloadModel(NAME, { revision: COMMIT })
  expect(server.requests).toHaveLength(count + 1)
})

test('a revision is asked for by its name', async () => {
  const server = await hub()
  await downloadModel(NAME, { revision: 'refs/pr/7' })
  expect(server.requests[0]).toContain('/revision/refs%2Fpr%2F7?')
  expect(await readFile(path.join(server.storage, 'refs', 'refs', 'pr', '7'), 'utf8')).toBe(COMMIT)
})

test('of several sets of weights, one is downloaded: the single file, or else the files of the index', async () => {
  const server = await hub()
  const weights = server.files.get(WEIGHTS) as Buffer
  server.files.set('consolidated.safetensors', weights).set('model-00001-of-00001.safetensors', weights)
  const index = { weight_map: { one: 'model-00001-of-00001.safetensors' } }
  server.files.set('model.safetensors.index.json', Buffer.from(JSON.stringify(index)))
  expect(await readdir(await downloadModel(NAME))).not.toContain('model-00001-of-00001.safetensors')
  await rm(server.storage, { recursive: true })
  server.files.delete(WEIGHTS)
  const names = await readdir(await downloadModel(NAME))
  expect(names).toEqual(expect.arrayContaining(['model-00001-of-00001.safetensors', 'model.safetensors.index.json']))
  expect(names).not.toContain('consolidated.safetensors')
})

test('a download resumes where it was after each of many lost connections', async () => {
  const server = await hub()
  server.fault = onWeights(cutAfter(400_000))
  await expectWhole(server, await downloadModel(NAME))
  const starts = server.requestsOf(WEIGHTS).map(request => Number(/bytes=(\d+)-/.exec(request)?.[1] ?? 0))
  expect(starts.length).toBeGreaterThan(5)
  expect(starts).toEqual([...starts].sort((a, b) => a - b))
  expect(starts[1]).toBeGreaterThan(0)
})

test('a download succeeds if the hub sends the whole file in place of the rest', async () => {
  const server = await hub()
  const cut = onWeights(cutAfter(400_000), 1)
  server.fault = (request, response, content) => {
    if (cut(request, response, content)) return true
    response.writeHead(200, { 'content-length': content.length }).end(content)
    return true
  }
  await expectWhole(server, await downloadModel(NAME))
})

test('a connection that stalls is given up and tried again', async () => {
  const server = await hub()
  vi.stubEnv('HF_HUB_DOWNLOAD_TIMEOUT', '0.5')
  const stall: Fault = (_, response, content) => {
    response.writeHead(200, { 'content-length': content.length })
    return response.write(content.subarray(0, 1000)) || true
  }
  server.fault = onWeights(stall, 1)
  await expectWhole(server, await downloadModel(NAME))
})

test('a busy hub is asked again after its retry-after time', async () => {
  const server = await hub()
  let count = 0
  server.apiFault = (_, response) => {
    if (count++ >= 3) return false
    response.writeHead(count === 1 ? 429 : 503, { 'retry-after': '0' }).end()
    return true
  }
  await expectWhole(server, await downloadModel(NAME))
})

test('a hub that stays busy is an error after five tries', async () => {
  const server = await hub()
  server.apiFault = (_, response) => !!response.writeHead(503, { 'retry-after': '0' }).end()
  const error = await failure(downloadModel(NAME))
  expect(error).toBeInstanceOf(DownloadError)
  expect(error).toMatchObject({
    code: 'DownloadError',
    message: expect.stringContaining('answered 503, 5 times in a row'),
  })
  expect(server.requests).toHaveLength(5)
})

test.each([
  [401, 'set `HF_TOKEN`'],
  [403, 'terms must be accepted'],
  [404, 'no such model, revision or file'],
  [410, 'answered 410'],
])('status %i is an error without another try, and its message says what to do', async (status, advice) => {
  const server = await hub()
  server.apiFault = (_, response) => !!response.writeHead(status).end()
  const error = await failure(downloadModel(NAME))
  expect(error).toMatchObject({ code: 'DownloadError', message: expect.stringContaining(advice) })
  expect(error.message).toContain(NAME)
  expect(server.requests).toHaveLength(1)
})

test('content with a wrong hash is an error, and never gets its name in the cache', async () => {
  const server = await hub()
  server.fault = onWeights((_, response, content) => {
    response.writeHead(200, { 'content-length': content.length }).end(Buffer.alloc(content.length))
    return true
  })
  const error = await failure(downloadModel(NAME))
  expect(error).toMatchObject({
    code: 'DownloadError',
    message: expect.stringContaining('does not have the announced hash'),
  })
  expect((await readdir(path.join(server.storage, 'blobs'))).some(name => /^[0-9a-f]{64}$/.test(name))).toBe(false)
  server.fault = () => false
  await expectWhole(server, await downloadModel(NAME))
})

test('a file that is longer than announced is an error', async () => {
  const server = await hub()
  server.fault = onWeights((_, response, content) => !!response.end(Buffer.concat([content, Buffer.alloc(10)])))
  const error = await failure(downloadModel(NAME))
  expect(error).toMatchObject({ code: 'DownloadError', message: expect.stringContaining('more than the') })
})

test('a damaged part of an earlier download is discarded', async () => {
  const server = await hub()
  await downloadModel(NAME)
  const file = await removeWeights(server)
  await writeFile(`${file}.incomplete`, Buffer.alloc(1000))
  await expectWhole(server, await downloadModel(NAME))
})

test('a download takes over the lock of a process that has ended', async () => {
  const server = await hub()
  await downloadModel(NAME)
  const file = await removeWeights(server)
  const { stdout } = await promisify(execFile)(process.execPath, ['-p', 'os.hostname() + " " + process.pid'])
  await writeFile(`${file}.incomplete.lock`, stdout.trim())
  await expectWhole(server, await downloadModel(NAME))
})

test('an abort ends the download at once, and the next download resumes there', async () => {
  const server = await hub()
  const stop = new AbortController()
  // Sends a part, and then nothing.
  server.fault = onWeights((_, response, content) => {
    response.writeHead(200, { 'content-length': content.length })
    return response.write(content.subarray(0, 500_000)) || true
  })
  const onProgress = ({ loadedBytes }: LoadProgress) => loadedBytes > 100_000 && stop.abort(new Error('enough'))
  const error = await failure(downloadModel(NAME, { signal: stop.signal, onProgress }))
  expect(error.message).toBe('enough')
  server.fault = () => false
  await expectWhole(server, await downloadModel(NAME))
  expect(server.requestsOf(WEIGHTS)[1]).toContain('bytes=')
  expect((await failure(downloadModel(NAME, { signal: AbortSignal.abort() }))).name).toBe('AbortError')
})

test('concurrent calls share one download, which continues when one of them is aborted', async () => {
  const server = await hub()
  const stop = new AbortController()
  const calls = [downloadModel(NAME, { signal: stop.signal }), downloadModel(NAME), downloadModel(NAME)]
  stop.abort()
  const [aborted, ...folders] = await Promise.allSettled(calls)
  expect(aborted?.status).toBe('rejected')
  expect(folders.every(({ status }) => status === 'fulfilled')).toBe(true)
  expect(server.requestsOf(WEIGHTS)).toHaveLength(1)
})

test('processes that download the same model wait for each other', async () => {
  const server = await hub()
  const script = `require(${JSON.stringify(path.join(ROOT, 'dist', 'index.js'))}).downloadModel('${NAME}').then(console.log)`
  const runs = await Promise.all([0, 1, 2].map(() => promisify(execFile)(process.execPath, ['-e', script])))
  for (const { stdout } of runs) await expectWhole(server, stdout.trim())
  expect(server.requestsOf(WEIGHTS)).toHaveLength(1)
})

test('progress never decreases, and ends with all bytes', async () => {
  const server = await hub()
  server.fault = onWeights(cutAfter(400_000))
  const reports: number[] = []
  const { engine } = await simulated()
  await engine.loadModel({
    path: NAME,
    onProgress: ({ stage, loadedBytes }) => stage === 'download' && reports.push(loadedBytes),
  })
  expect(reports).toEqual([...reports].sort((a, b) => a - b))
  const names = await readdir(path.join(server.storage, 'snapshots', COMMIT))
  const total = names.reduce((sum, name) => sum + (server.files.get(name)?.length ?? 0), 0)
  expect(reports.at(-1)).toBe(total)
})

test('a listener that throws ends its own call only', async () => {
  const server = await hub()
  const onProgress = () => {
    throw new Error('from the listener')
  }
  const [first, second] = await Promise.allSettled([downloadModel(NAME, { onProgress }), downloadModel(NAME)])
  expect(first).toMatchObject({ status: 'rejected', reason: new Error('from the listener') })
  expect(second.status).toBe('fulfilled')
  expect(server.requestsOf(WEIGHTS)).toHaveLength(1)
})

test('offline, a cached model is used without a request, and another model is not found', async () => {
  const server = await hub()
  const folder = await downloadModel(NAME)
  vi.stubEnv('HF_HUB_OFFLINE', '1')
  const count = server.requests.length
  expect(await downloadModel(NAME)).toBe(folder)
  const error = await failure(downloadModel('somebody/else'))
  expect(error).toBeInstanceOf(ModelError)
  expect(error).toMatchObject({ code: 'ModelNotFound', message: expect.stringContaining('HF_HUB_OFFLINE') })
  expect(server.requests).toHaveLength(count)
})

test('if the hub cannot be reached, a complete cached model is used with a warning', async () => {
  const server = await hub()
  const folder = await downloadModel(NAME)
  server.apiFault = (_, response) => !!response.writeHead(503, { 'retry-after': '0' }).end()
  const warned = new Promise<Error>(resolve => process.once('warning', resolve))
  expect(await downloadModel(NAME)).toBe(folder)
  expect((await warned).message).toContain('The cached somebody/tiny-chat is used')
  await rm(path.join(folder, WEIGHTS))
  expect(await failure(downloadModel(NAME))).toBeInstanceOf(DownloadError)
})

test('the token is sent to the hub, not to the address of large files, and no error shows it', async () => {
  const server = await hub()
  await downloadModel(NAME, { token: 'hf_secret' })
  expect(new Set(server.tokens)).toEqual(new Set(['Bearer hf_secret']))
  expect(server.leakedTokens).toEqual([])
  server.apiFault = (_, response) => !!response.writeHead(403).end()
  const error = await failure(downloadModel(NAME, { token: 'hf_secret', revision: 'other' }))
  expect(error.message).toContain('the token may not read it')
  expect(`${error.message} ${error.stack}`).not.toContain('hf_secret')
})

test('the token of a login is used, unless the variables forbid it', async () => {
  const server = await hub()
  const file = path.join(server.cacheFolder, 'token')
  await writeFile(file, 'hf_login\n')
  vi.stubEnv('HF_TOKEN_PATH', file)
  await downloadModel(NAME)
  expect(server.tokens[0]).toBe('Bearer hf_login')
  vi.stubEnv('HF_HUB_DISABLE_IMPLICIT_TOKEN', '1')
  await downloadModel(NAME)
  expect(server.tokens.at(-1)).toBeUndefined()
})

test('file names that lead out of the folder are ignored, and a malformed listing is an error', async () => {
  const server = await hub()
  const evil = ['../evil.json', '/etc/model.safetensors', 'model/../../x.safetensors', 'sub/config.json']
  server.list = listing => ({
    ...listing,
    siblings: [...listing.siblings, ...evil.map(rfilename => ({ ...listing.siblings[0], rfilename }))],
  })
  await expectWhole(server, await downloadModel(NAME))
  const strange = [
    null,
    [],
    {},
    { sha: '../..', siblings: [] },
    { sha: COMMIT },
    { sha: COMMIT, siblings: [{ rfilename: 'config.json' }] },
  ]
  for (const answer of strange) {
    server.list = () => answer
    expect((await failure(downloadModel(NAME))).message).toContain(
      "the hub's description of somebody/tiny-chat cannot be used",
    )
  }
  server.apiFault = (_, response) => !!response.end('<html>')
  expect((await failure(downloadModel(NAME))).message).toContain('not JSON')
})

test('a repository without weights in this format is an error that names what is missing', async () => {
  const server = await hub()
  server.files.delete(WEIGHTS)
  expect((await failure(downloadModel(NAME))).message).toContain('it has no `.safetensors` files')
  server.files.set(WEIGHTS, Buffer.alloc(8)).delete('config.json')
  expect((await failure(downloadModel(NAME))).message).toContain('it has no `config.json`')
})

test('a download that does not fit the disk is refused before it starts', async () => {
  const server = await hub()
  const size = 2 ** 52
  server.list = listing => ({
    ...listing,
    siblings: listing.siblings.map(file => (file.rfilename === WEIGHTS ? { ...file, size } : file)),
  })
  const error = await failure(downloadModel(NAME))
  expect(error).toMatchObject({ code: 'DownloadError', requested: expect.any(Number), limit: expect.any(Number) })
  expect(server.requests).toHaveLength(1)
})

test('what has arrived of a file needs no further space', async () => {
  const blob = path.join((await hub()).cacheFolder, 'blob')
  expect(await missingBytes(blob, 1000)).toBe(1000)
  await writeFile(`${blob}.incomplete`, Buffer.alloc(700))
  expect(await missingBytes(blob, 1000)).toBe(300)
  await writeFile(blob, Buffer.alloc(1000))
  expect(await missingBytes(blob, 1000)).toBe(0)
})

test('a file to which something else writes during the download does not get its name with wrong content', async () => {
  const server = await hub()
  await downloadModel(NAME)
  const file = await removeWeights(server)
  let numCuts = 0
  const cut = cutAfter(400_000)
  server.fault = onWeights((request, response, content) => {
    if (numCuts++ === 1) appendFileSync(`${file}.incomplete`, 'foreign')
    return cut(request, response, content)
  })
  await expectWhole(server, await downloadModel(NAME))
  expect(server.requestsOf(WEIGHTS).filter(request => !request.includes('bytes=')).length).toBeGreaterThan(1)
})

test('the end of the engine ends its downloads, also that of a registered model', async () => {
  const server = await hub()
  let numClosed = 0
  server.fault = onWeights((_, response, content) => {
    response.once('close', () => numClosed++)
    response.writeHead(200, { 'content-length': content.length })
    return response.write(content.subarray(0, 500_000)) || true
  })
  for (const isRegistered of [false, true]) {
    const { engine } = await simulated()
    if (isRegistered) await engine.registerModel({ path: NAME })
    let hasBegun = () => {}
    const begun = new Promise<void>(resolve => (hasBegun = resolve))
    const load = failure(engine.loadModel({ path: NAME, onProgress: () => hasBegun() }))
    await begun
    await engine.shutdown()
    expect(await load).toMatchObject({ code: 'EngineClosed' })
    await until(() => numClosed > (isRegistered ? 1 : 0))
  }
})

test('links that lead out of the cache do not count as cached files', async () => {
  const server = await hub()
  const folder = path.join(server.storage, 'snapshots', COMMIT)
  await mkdir(folder, { recursive: true })
  for (const name of ['config.json', 'tokenizer.json', WEIGHTS]) {
    await symlink(path.join(ROOT, 'models', 'demo', name), path.join(folder, name))
  }
  await downloadModel(NAME, { revision: COMMIT })
  await expectWhole(server, folder)
  expect(await readlink(path.join(folder, WEIGHTS))).toMatch(/^\.\.\/\.\.\/blobs\//)
})

test('a redirect to another protocol and an endless redirect are errors', async () => {
  const server = await hub()
  for (const location of ['file:///etc/passwd', '/api/again', 'ftp://hub/x']) {
    // The address after a redirect is answered the same way.
    server.apiFault = (_, response) => !!response.writeHead(302, { location }).end()
    expect(await failure(downloadModel(NAME))).toMatchObject({
      code: 'DownloadError',
      message: expect.stringContaining('redirect'),
    })
  }
})

test('the hub is never asked for something that is not the name of a model', async () => {
  const server = await hub()
  const { engine } = await simulated()
  for (const path of [
    '../somebody/x',
    './somebody/x',
    '/somebody/x',
    'x',
    'a/b/c',
    'a/..',
    'a--b/c',
    'a/b.git',
    '-a/b',
    'a/b c',
  ]) {
    expect(await failure(engine.loadModel(path))).toMatchObject({ code: 'ModelNotFound' })
    expect(await failure(downloadModel(path))).toMatchObject({ code: 'InvalidParams', param: 'name' })
  }
  expect(server.requests).toEqual([])
})

test.each([
  ['revision', '../main'],
  ['revision', ''],
  ['revision', 3],
  ['token', 'with space'],
  ['token', 7],
  ['onProgress', 'no'],
  ['signal', {}],
  ['retries', 3],
])('the option %s = %j is refused', async (name, value) => {
  const server = await hub()
  expect(await failure(downloadModel(NAME, { [name]: value } as never))).toBeInstanceOf(InvalidParamsError)
  expect(server.requests).toEqual([])
})

test.each([
  ['HF_ENDPOINT', 'hub.example'],
  ['HF_ENDPOINT', 'file:///tmp'],
  ['HF_HUB_DOWNLOAD_TIMEOUT', 'soon'],
])('the variable %s = %s is refused', async (name, value) => {
  await hub()
  vi.stubEnv(name, value)
  expect(await failure(downloadModel(NAME))).toMatchObject({ code: 'ConfigError', param: name })
})

test('a revision for a folder is refused', async () => {
  const { engine } = await simulated()
  const folder = path.join(ROOT, 'models', 'demo')
  const error = await failure(engine.loadModel({ path: folder, revision: 'main' }))
  expect(error).toMatchObject({ code: 'InvalidParams', param: 'revision' })
})

test('a cache that cannot be written is an error that names it', async () => {
  const server = await hub()
  const file = path.join(server.cacheFolder, 'file')
  await writeFile(file, '')
  onTestFinished(() => rm(file))
  vi.stubEnv('HF_HUB_CACHE', file)
  expect(await failure(downloadModel(NAME))).toMatchObject({
    code: 'DownloadError',
    message: expect.stringContaining(file),
  })
})
