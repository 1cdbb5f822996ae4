// The tests of `npm run test:real`: like the other JavaScript tests, with longer time limits.

import path from 'node:path'
import { defineConfig } from 'vitest/config'

const root = path.join(import.meta.dirname, '..', '..')

export default defineConfig({
  root,
  resolve: { alias: { 'mlx-serving': path.join(root, 'dist', 'index.mjs') } },
  test: {
    include: ['tools/real-model/*.real.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 300_000,
    hookTimeout: 120_000,
    server: { deps: { external: [/\/dist\//] } },
  },
})
