// The same implementation for ES modules: one copy, so that errors are recognized.
export { instrument } from './index.js'
