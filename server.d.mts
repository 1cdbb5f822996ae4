// The public types as an ES module sees them: the same ones.
export * from './server.js'
