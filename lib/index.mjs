// The same implementation for ES modules: one copy, so that `instanceof` holds wherever an error was caught.
export {
  BackendError,
  CancelledError,
  ConfigError,
  createEngine,
  DownloadError,
  downloadModel,
  EngineClosedError,
  GuidanceError,
  InvalidParamsError,
  MlxServingError,
  ModelError,
  OverloadedError,
  SlowConsumerError,
  TimeoutError,
  UnsupportedPlatformError,
} from './index.js'
