// The exports of mlx-serving/server. index.mjs exports the same names to ES modules; server.d.ts has the types.

export { createHandler } from './handler'
export { toNodeListener } from './node'
export { serve } from './serve'
export { SSE_HEADERS, sseStream, writeSse } from './sse'
