// `npm run smoke`: installs the packed tarballs into empty folders outside the repository and uses them as users do. Finds
// files that exist in a checkout but not in a package. `--quick` skips the other package managers and versions of Node;
// `--from DIR` takes existing tarballs.

import { mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { quiet } from './command.mjs'
import { installPackages } from './dependencies.mjs'
import { Failure, main } from './failure.mjs'
import { pack } from './pack.mjs'
import { platform } from './repository.mjs'
import { record } from './results.mjs'
import { missingDevice } from './smoke/device.mjs'
import { installedPlatforms, installInto, NPM, NPM_WITHOUT_OPTIONAL, OTHERS } from './smoke/installs.mjs'
import { PREPARATIONS, PROGRAMS, run, SINCE_STRIPPED, STRIPPED, TRACING, writePrograms } from './smoke/programs.mjs'
import { startRegistry } from './smoke/registry.mjs'
import { installTools, otherNodes, tool } from './smoke/tools.mjs'
import { releasedVersion } from './tarballs.mjs'
import { phase } from './terminal.mjs'

const { values: options } = parseArgs({ options: { quick: { type: 'boolean' }, from: { type: 'string' } } })
const counts = { passed: 0, failed: 0 }
/** Checks that cannot run on this machine, with the reason. */
const notRun = []
const failures = []

/** One check. All checks run, so that one run shows every problem. Resolves with whether it passed. */
async function check(title, work) {
  try {
    await phase(title, work)
    counts.passed++
    return true
  } catch (error) {
    counts.failed++
    failures.push(new Failure(`${title}:\n${error.message}`))
    return false
  }
}

/** A check that runs a model. Some machines cannot. */
async function checkAnswer(title, work, missing) {
  if (missing === undefined) await check(title, work)
  else notRun.push(`${title} (${missing})`)
}

/** The uses of the package after an installation with npm, on every version of Node. */
async function checkNpm(place) {
  const folder = join(place.root, 'npm')
  if (!(await check('Installing with npm', () => installInto(folder, NPM, place)))) return
  await check('Only the package of this platform was installed', () => {
    const names = installedPlatforms(folder).map(target => target.name)
    if (names.join() !== platform().name) throw new Failure(`installed: ${names.join(', ')}`)
  })
  await check('npx mlx-serving --version', async () => {
    const said = await quiet('npx', ['--no-install', 'mlx-serving', '--version'], { cwd: folder })
    if (said.trim() !== releasedVersion()) throw new Failure(`it was: ${said}`)
  })
  writePrograms(folder)
  for (const [title, prepare] of PREPARATIONS) await check(title, () => prepare(folder))
  const major = process.versions.node.split('.')[0]
  const nodes = { ...(options.quick ? {} : otherNodes()), [major]: process.execPath }
  for (const [version, node] of Object.entries(nodes)) {
    const programs = Number(version) >= SINCE_STRIPPED ? [...PROGRAMS, STRIPPED] : PROGRAMS
    for (const [title, args] of programs)
      await checkAnswer(`Node ${version}: ${title}`, () => run(folder, node, args), place.missing)
  }
}

/** `mlx-serving/otel`, with the package that it needs. */
async function checkTracing(place) {
  const folder = join(place.root, 'tracing')
  const { packages, preparations, programs } = TRACING
  if (!(await check('Installing with OpenTelemetry', () => installInto(folder, NPM, { ...place, packages })))) return
  writePrograms(folder)
  for (const [title, prepare] of preparations) await check(title, () => prepare(folder))
  for (const [title, args] of programs)
    await checkAnswer(title, () => run(folder, process.execPath, args), place.missing)
}

async function checkOthers(place) {
  for (const manager of OTHERS) {
    const folder = join(place.root, manager.title.replaceAll(/\W+/g, '-'))
    let started
    const install = async () => {
      started = await installInto(folder, manager, place)
    }
    if (!(await check(`Installing with ${manager.title}`, install))) continue
    writePrograms(folder)
    for (const [title, args] of PROGRAMS.slice(0, 3)) {
      const all = [...started.args, ...args]
      const use = () => run(folder, process.execPath, all, started.environment)
      await checkAnswer(`${manager.title}: ${title}`, use, place.missing)
    }
  }
}

/** Without the platform package, `createEngine` rejects with an error that says what to do. */
async function checkWithoutOptional(place) {
  const folder = join(place.root, 'without-optional')
  await check(`Installing with ${NPM_WITHOUT_OPTIONAL.title}: the error is readable`, async () => {
    await installInto(folder, NPM_WITHOUT_OPTIONAL, place)
    const script =
      "require('mlx-serving').createEngine().catch(({ code, message }) => console.log(code, message, '\\n'))"
    const output = await quiet(process.execPath, ['--eval', script], { cwd: folder })
    const expected = `UnsupportedPlatform the package ${platform().package} is not installed.`
    if (!output.startsWith(expected) || !output.includes('--omit=optional')) throw new Failure(`it was: ${output}`)
  })
}

/** The manifest and types as Node, bundlers and each module resolution of TypeScript read them. */
async function checkDeclarations([tarball]) {
  await check('publint', () => quiet(process.execPath, [tool('publint', 'src', 'cli.js'), 'run', tarball, '--strict']))
  const attw = tool('@arethetypeswrong', 'cli', 'dist', 'index.js')
  await check('Are the types wrong?', () => quiet(process.execPath, [attw, tarball, '--no-emoji']))
}

/** Existing tarballs, the package itself first. */
function packedIn(folder) {
  const names = readdirSync(folder).filter(name => name.endsWith(`-${releasedVersion()}.tgz`))
  return names.sort((one, other) => one.length - other.length).map(name => join(folder, name))
}

await main(async () => {
  const tarballs = options.from ? packedIn(resolve(options.from)) : await pack()
  await installPackages()
  await installTools()
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'mlx-serving-smoke-')))
  const registry = await startRegistry(tarballs)
  const place = { root, kept: join(root, 'kept'), url: registry.url, missing: await missingDevice() }
  try {
    await checkDeclarations(tarballs)
    await checkNpm(place)
    await checkTracing(place)
    await checkWithoutOptional(place)
    if (!options.quick) await checkOthers(place)
  } finally {
    registry.close()
    rmSync(root, { recursive: true, force: true })
    record('install-smoke', counts)
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${notRun.length} not run`)
  for (const title of notRun) console.log(`not run: ${title}`)
  if (failures.length > 0) throw new Failure(failures.map(({ message }) => message).join('\n\n'))
})
