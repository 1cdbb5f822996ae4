// The exports of the package. lib/index.mjs exports the same names to ES modules; index.d.ts has the types.

export { downloadModel } from './download/downloads'
export { createEngine } from './engine'
export {
  BackendError,
  CancelledError,
  ConfigError,
  DownloadError,
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
