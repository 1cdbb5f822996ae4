// `node tools/build/other-node.mjs 24`: runs the JavaScript tests on another major version of Node, one of those the
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
  if (!nodes[major]) throw new Failure(`Say which Node: ${Object.keys(nodes).join(', ') || 'none is there'}.`)
  await build()
  await phase(
    `Testing from JavaScript on Node ${major} (vitest)`,
    () => runVitest(`node-${major}`, { node: nodes[major] }),
    {
      speaks: true,
    },
  )
})
