// A language model of the AI SDK: each call is one request to the engine.

import type { LanguageModelV4CallOptions } from '@ai-sdk/provider'
import type { MlxGenerateResult, MlxLanguageModel, MlxStreamResult } from '../../ai-sdk'
import type { Engine, ModelHandle } from '../../index'
import type { LazyModel } from '../lazymodel'
import { callErrorOf } from './failures'
import { type ReadyRequest, requestOf } from './request'
import { contentOf, finishReasonOf, metadataOf, usageOf } from './result'
import { streamOf } from './stream'

export class LanguageModel implements MlxLanguageModel {
  readonly specificationVersion = 'v4'
  readonly provider = 'mlx'
  readonly modelId: string
  readonly supportedUrls = {}
  readonly #model: LazyModel

  constructor(model: LazyModel) {
    this.#model = model
    this.modelId = model.name
  }

  async doGenerate(call: LanguageModelV4CallOptions): Promise<MlxGenerateResult> {
    const request = requestOf(call)
    const { warnings, params: body } = request
    try {
      const { engine, model } = await this.#model.ready(call.abortSignal)
      const timestamp = new Date()
      const result = await engine.generate({ ...request.params, model }, request.options)
      const problems = result.warnings?.map(message => ({ type: 'other' as const, message })) ?? []
      return {
        content: contentOf(result),
        finishReason: finishReasonOf(result),
        usage: usageOf(result.usage),
        providerMetadata: metadataOf(result),
        request: { body },
        response: { id: result.id, timestamp, modelId: model.id },
        warnings: [...warnings.list, ...problems],
      }
    } catch (error) {
      throw callErrorOf(error, this.modelId, body)
    }
  }

  async doStream(call: LanguageModelV4CallOptions): Promise<MlxStreamResult> {
    const request = requestOf(call)
    const { params: body } = request
    try {
      const { engine, model } = await this.#model.ready(call.abortSignal)
      return { stream: await this.#stream(call, request, { engine, model }), request: { body } }
    } catch (error) {
      throw callErrorOf(error, this.modelId, body)
    }
  }

  async #stream(call: LanguageModelV4CallOptions, request: ReadyRequest, { engine, model }: Ready) {
    const timestamp = new Date()
    const generation = engine.generate({ ...request.params, model }, request.options)
    const chunks = generation[Symbol.asyncIterator]()
    // Until here an error rejects the call, and the AI SDK can make it again.
    const first = await chunks.next()
    return streamOf(
      { generation, chunks, first },
      {
        head: [
          { type: 'stream-start', warnings: request.warnings.list },
          { type: 'response-metadata', id: generation.id, timestamp, modelId: model.id },
        ],
        includeRawChunks: call.includeRawChunks === true,
        signal: call.abortSignal,
        modelId: this.modelId,
        body: request.params,
      },
    )
  }
}

interface Ready {
  engine: Engine
  model: ModelHandle
}
