// Where the bench keeps what it makes once: models, and the Python environment with mlx-lm. Outside of the repository.

import { cached as shared } from '../tools/build/cache.mjs'

/** A path in the bench's part of the cache. */
export const cached = (...parts) => shared('bench', ...parts)
