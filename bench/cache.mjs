// Where the bench keeps what it makes once: models, and the Python environment with mlx-lm. Inside the folder of the
// build's cache (native/mlx-sys), outside of the repository.

import { homedir } from 'node:os'
import { join } from 'node:path'

/** A path in the cache. */
export const cached = (...parts) => join(root(), 'bench', ...parts)

function root() {
  const { MLX_SERVING_CACHE_DIR: own, XDG_CACHE_HOME: shared } = process.env
  if (own) return own
  if (shared) return join(shared, 'mlx-serving')
  return process.platform === 'darwin'
    ? join(homedir(), 'Library', 'Caches', 'mlx-serving')
    : join(homedir(), '.cache', 'mlx-serving')
}
