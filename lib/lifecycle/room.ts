// Which models are unloaded to make room for another one: pure decisions. lib/lifecycle/lifecycle.ts carries them out.

/** A model that could be unloaded. */
export interface Candidate {
  readonly bytes: number
  readonly lastUsedAt: number
}

/**
 * The models to unload so that `missing` bytes become free: the least recently used first, and no more than needed. `undefined`
 * if all of them together are not enough: then none is unloaded in vain.
 */
export function victims<C extends Candidate>(candidates: readonly C[], missing: number): C[] | undefined {
  const chosen: C[] = []
  let freed = 0
  for (const candidate of [...candidates].sort((one, other) => one.lastUsedAt - other.lastUsedAt)) {
    if (freed >= missing) break
    // A model without weights frees nothing.
    if (candidate.bytes === 0) continue
    chosen.push(candidate)
    freed += candidate.bytes
  }
  return freed >= missing ? chosen : undefined
}
