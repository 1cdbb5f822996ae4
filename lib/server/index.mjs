// The same implementation for ES modules.
export { createHandler, SSE_HEADERS, serve, sseStream, toNodeListener, writeSse } from './index.js'
