// `npm run test:real`: tests that only a real model can fail, on SmolLM2-135M-Instruct at 4 bits.

import { build } from '../build/build.mjs'
import { main } from '../build/failure.mjs'
import { at } from '../build/repository.mjs'
import { runVitest } from '../build/runners.mjs'
import { phase } from '../build/terminal.mjs'
import { quantizedFolder } from './model.mjs'

const CONFIG = at('tools', 'real-model', 'vitest.config.mts')

await main(async () => {
  await build()
  process.env.MLX_SERVING_REAL_MODEL = await quantizedFolder()
  await phase(
    'Testing on SmolLM2-135M-Instruct (vitest)',
    () => runVitest('real-model', { args: ['--config', CONFIG] }),
    {
      speaks: true,
    },
  )
})
