// The exports of mlx-serving/ai-sdk, a provider of the AI SDK that runs models in this process. ai-sdk.d.ts has the types.
// Nothing of `ai` or `@ai-sdk/provider` is loaded: a provider is an object of a known shape.

export { createMlx, mlx } from './provider'
