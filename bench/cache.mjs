// The benchmarks' part of the cache, outside the repository: models, and the Python environment with mlx-lm.

import { cached as shared } from '../tools/build/cache.mjs'

/** A path in the benchmarks' part of the cache. */
export const cached = (...parts) => shared('bench', ...parts)
