// `mlx-serving fit` takes the same values from a `config.json` as the engine. `src/executor/mlx/tests/footprints.rs`
// tests the engine with the same examples.

import { expect, test } from 'vitest'
import { Footprint, shapeOf } from '../lib/cli/footprint.js'
import examples from './footprints.json'

const GIB = 2 ** 30
/** A thousand float32 weights. */
const WEIGHTS = { bytes: 4_000, parameters: 1_000, packedFloat32Bytes: 4_000 }

test.each(examples)('$name', ({ config, windows, isFused, isChained }) => {
  const shape = shapeOf(config)
  if (shape === undefined) throw new Error('the config was not read')
  expect(shape.windows).toEqual(windows)
  const footprint = new Footprint(shape, WEIGHTS, { device: 'cpu', memoryBytes: GIB })
  // The fused attention takes three blocks for 700 tokens; otherwise arrays double, up to the window.
  const positions = windows.map(window => (isFused ? 768 : Math.min(1_024, window)))
  const layerBytes = footprint.tokenBytes / windows.length
  expect(footprint.rowBytes(700)).toBe(positions.reduce((sum, kept) => sum + kept * layerBytes, 0))
  // A chain has the head beside the embedding that it equals.
  const isTied = !('tie_word_embeddings' in config) || config.tie_word_embeddings !== false
  const headBytes = isFused && isChained && isTied ? 4 * config.vocab_size * config.hidden_size : 0
  expect(footprint.weightBytes).toBe(4 * WEIGHTS.parameters + headBytes)
})
