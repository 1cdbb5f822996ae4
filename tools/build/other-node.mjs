// `node tools/build/other-node.mjs 24`: runs the JavaScript tests on another major version of Node, from the versions that the
// install smoke test uses.

import { build } from './build.mjs'
import { Failure, main } from './failure.mjs'
import { runVitest } from './runners.mjs'
import { installTools, otherNodes } from './smoke/tools.mjs'
import { phase } from './terminal.mjs'

await main(async () => {
  await installTools()
  const nodes = otherNodes()
  const [, , major] = process.argv
  if (!nodes[major])
    throw new Failure(`Name a version of Node: ${Object.keys(nodes).join(', ') || 'none is installed'}.`)
  await build()
  await phase(
    `Testing from JavaScript on Node ${major} (vitest)`,
    () => runVitest(`node-${major}`, { node: nodes[major] }),
    {
      speaks: true,
    },
  )
})
