// A language model of the AI SDK: each call is one request to the engine.

import type { LanguageModelV4CallOptions } from '@ai-sdk/provider'
import type { MlxGenerateResult, MlxLanguageModel, MlxStreamResult } from '../../ai-sdk'
import type { Generation } from '../../index'
import type { LazyModel, ReadyModel } from '../lazymodel'
import { callErrorOf } from './failures'
import { type ReadyRequest, requestOf } from './request'
import { contentOf, finishReasonOf, metadataOf, usageOf } from './result'
import { streamOf } from './stream'

export class LanguageModel implements MlxLanguageModel {
  readonly specificationVersion = 'v4'
  readonly provider = 'mlx'
  readonly modelId: string
  // The AI SDK would download other URLs. Models take text only, so a request with a file is refused before.
  readonly supportedUrls = { '*/*': [/.*/] }
  readonly #model: LazyModel

  constructor(model: LazyModel) {
    this.#model = model
    this.modelId = model.name
  }

  async doGenerate(call: LanguageModelV4CallOptions): Promise<MlxGenerateResult> {
    const request = requestOf(call)
    const { warnings, params: body } = request
    try {
      const ready = await this.#ready(call, request)
      const timestamp = new Date()
      const result = await generate(ready, request)
      const problems = result.warnings?.map(message => ({ type: 'other' as const, message })) ?? []
      return {
        content: contentOf(result),
        finishReason: finishReasonOf(result),
        usage: usageOf(result.usage),
        providerMetadata: metadataOf(result),
        request: { body },
        response: { id: result.id, timestamp, modelId: ready.model.id },
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
      const ready = await this.#ready(call, request)
      return { stream: await this.#stream(call, request, ready), request: { body } }
    } catch (error) {
      throw callErrorOf(error, this.modelId, body)
    }
  }

  #ready({ abortSignal }: LanguageModelV4CallOptions, { options }: ReadyRequest): Promise<ReadyModel> {
    return this.#model.ready(abortSignal, options.timeoutMs)
  }

  async #stream(call: LanguageModelV4CallOptions, request: ReadyRequest, ready: ReadyModel) {
    const timestamp = new Date()
    const generation = generate(ready, request)
    const chunks = generation[Symbol.asyncIterator]()
    // Until here an error rejects the call, and the AI SDK can make it again.
    const first = await chunks.next()
    return streamOf(
      { generation, chunks, first },
      {
        head: [
          { type: 'stream-start', warnings: request.warnings.list },
          { type: 'response-metadata', id: generation.id, timestamp, modelId: ready.model.id },
        ],
        includeRawChunks: call.includeRawChunks === true,
        signal: call.abortSignal,
        modelId: this.modelId,
        body: request.params,
      },
    )
  }
}

function generate({ engine, model, timeoutMs }: ReadyModel, { params, options }: ReadyRequest): Generation {
  return engine.generate({ ...params, model }, { ...options, timeoutMs })
}
