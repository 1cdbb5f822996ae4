// The provider: which engine runs its models, and what kinds of models there are.

import type { MlxModel, MlxProvider, MlxProviderSettings } from '../../ai-sdk'
import type { EngineOptions } from '../../index'
import { errorOf } from '../errors'
import { LazyEngine, readEngine, sharedEngine } from '../lazyengine'
import { LazyModel } from '../lazymodel'
import { isAbsent, readKnown } from '../options'
import { noSuchModel } from './failures'
import { LanguageModel } from './model'

export function createMlx(settings?: MlxProviderSettings): MlxProvider {
  return providerOf(readSettings(settings))
}

export const mlx: MlxProvider = providerOf(sharedEngine)

function providerOf(engine: LazyEngine): MlxProvider {
  const languageModel = (model?: MlxModel) => new LanguageModel(new LazyModel(engine, model))
  return Object.assign((model?: MlxModel) => languageModel(model), {
    specificationVersion: 'v4' as const,
    languageModel,
    embeddingModel: refuseEmbeddings,
    textEmbeddingModel: refuseEmbeddings,
    imageModel: (modelId: string) => {
      throw noSuchModel(modelId, 'imageModel')
    },
    engine: () => engine.get(),
    [Symbol.asyncDispose]: () => engine.dispose(),
  })
}

function refuseEmbeddings(modelId: string): never {
  throw noSuchModel(modelId, 'embeddingModel')
}

function readSettings(settings: unknown): LazyEngine {
  const { engine, engineOptions } = readKnown(settings, 'options', ['engine', 'engineOptions'])
  if (isAbsent(engine)) return new LazyEngine(undefined, (engineOptions ?? undefined) as EngineOptions | undefined)
  const given = readEngine(engine)
  if (isAbsent(engineOptions)) return new LazyEngine(given)
  const message = '`engineOptions` are for an engine of the provider, and there is already an `engine`'
  throw errorOf('ConfigError', message, { param: 'engineOptions' })
}
