// /v1/models: the models that requests may use.

import type { ModelHandle } from '../../index'
import { type Exchange, json, knownModels, nowSeconds } from './exchange'
import { HttpError } from './problem'

/** When the models came to be, for clients: the APIs want a time, and it must not change. */
const CREATED = nowSeconds()

export function listModels({ site }: Exchange): Response {
  const data = knownModels(site.engine).map(id => describe(id, site.engine.getModelInfo(id)))
  // Codex reads the field `models`, whose entries have a format of Codex. An empty list is enough for it.
  return json({ object: 'list', data, models: [] })
}

export function showModel(exchange: Exchange, id: string): Response {
  const { engine } = exchange.site
  if (knownModels(engine).includes(id)) return json(describe(id, engine.getModelInfo(id)))
  throw new HttpError(404, 'model_not_found', 'no model has this name; see /v1/models')
}

/** A model in OpenAI's format, with fields such as vLLM's `max_model_len`. Fields from its files exist after its first load. */
function describe(id: string, model: ModelHandle | undefined): object {
  const basic = { id, object: 'model', created: CREATED, owned_by: 'mlx-serving' }
  if (model === undefined) return basic
  const { tools, reasoning, structured } = model.capabilities
  return { ...basic, max_model_len: model.contextLength, capabilities: { tools, reasoning, structured } }
}
