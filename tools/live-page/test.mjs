// `npm run test:page`: the live page of `serve --dashboard` in Chromium, which is installed where that is possible.
// `--screenshots FOLDER` keeps pictures of the page.

import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from '../build/build.mjs'
import { main } from '../build/failure.mjs'
import { at } from '../build/repository.mjs'
import { runVitest } from '../build/runners.mjs'
import { phase } from '../build/terminal.mjs'
import { chromium } from './chromium.mjs'

await main(async () => {
  const { values } = parseArgs({ options: { screenshots: { type: 'string' } }, strict: true })
  await build()
  process.env.LIVE_PAGE_CHROMIUM = await chromium()
  if (values.screenshots !== undefined) {
    process.env.LIVE_PAGE_SCREENSHOTS = resolve(values.screenshots)
    mkdirSync(process.env.LIVE_PAGE_SCREENSHOTS, { recursive: true })
  }
  const args = ['--config', at('tools', 'live-page', 'vitest.config.mts')]
  await phase('Testing the live page in a browser (vitest)', () => runVitest('live-page', { args }), { speaks: true })
})
