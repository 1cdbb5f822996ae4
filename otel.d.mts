// The public types of mlx-serving/otel as an ES module sees them: the same ones.
export * from './otel.js'
