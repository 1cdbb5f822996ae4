// Runs the tests against what is shipped: the compiled dist/ and the built addon, loaded by Node itself.

import path from 'node:path'
import { defineConfig } from 'vitest/config'

const dist = (...names: string[]) => path.join(import.meta.dirname, 'dist', ...names)

export default defineConfig({
  // The longer names first: a name also stands for what begins with it.
  resolve: {
    alias: {
      'mlx-serving/ai-sdk': dist('ai-sdk', 'index.mjs'),
      'mlx-serving/langchain': dist('langchain', 'index.mjs'),
      'mlx-serving/otel': dist('otel', 'index.mjs'),
      'mlx-serving/server': dist('server', 'index.mjs'),
      'mlx-serving': dist('index.mjs'),
    },
  },
  test: {
    globalSetup: '__test__/copies.ts',
    include: ['__test__/**/*.test.ts', 'tools/{build,docs}/**/*.test.mjs'],
    // A process for each file: an addon that crashes takes its own file down, and exits are exits.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    server: { deps: { external: [/\/dist\//] } },
  },
})
