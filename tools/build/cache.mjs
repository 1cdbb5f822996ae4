// The folder for files that are fetched or made once for all checkouts of a user. native/mlx-sys uses it for MLX.

import { homedir } from 'node:os'
import { join } from 'node:path'

/** A path in the cache. */
export const cached = (...parts) => join(root(), ...parts)

function root() {
  const { MLX_SERVING_CACHE_DIR: own, XDG_CACHE_HOME: shared } = process.env
  if (own) return own
  if (shared) return join(shared, 'mlx-serving')
  return process.platform === 'darwin'
    ? join(homedir(), 'Library', 'Caches', 'mlx-serving')
    : join(homedir(), '.cache', 'mlx-serving')
}
