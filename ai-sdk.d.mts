// The public types of mlx-serving/ai-sdk as an ES module sees them: the same ones.
export * from './ai-sdk.js'
