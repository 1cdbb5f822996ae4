// The tests of `npm run test:page`. One server under load for all of them.

import path from 'node:path'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  root: path.join(import.meta.dirname, '..', '..'),
  test: {
    include: ['tools/live-page/*.browser.mjs'],
    maxWorkers: 1,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
