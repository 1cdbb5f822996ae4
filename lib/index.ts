// What the package exports; lib/index.mjs exports the same names to ES modules. The types are in index.d.ts.

export { createEngine } from './engine'
export {
  BackendError,
  CancelledError,
  ConfigError,
  EngineClosedError,
  GuidanceError,
  InvalidParamsError,
  MlxServingError,
  ModelError,
  OverloadedError,
  SlowConsumerError,
  TimeoutError,
  UnsupportedPlatformError,
} from './errors'
