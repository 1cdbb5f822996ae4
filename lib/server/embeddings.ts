// /v1/embeddings: says that there are none, so that a client does not look for a mistake of its own.

import { HttpError } from './problem'

export function embeddings(): never {
  const message = 'this server has no embeddings; use another server for embedding models'
  throw new HttpError(404, 'not_supported', message)
}
