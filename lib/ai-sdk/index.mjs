// The same implementation for ES modules: one copy, so that both share the engine of `mlx`.
export { createMlx, mlx } from './index.js'
