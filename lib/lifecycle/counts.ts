// Counts of loads and unloads. Every load and unload of a model is reported to the observers of lib/lifecycle/lifecycle.ts, of
// which this is one: events and metrics can be others.

import type { LifecycleStats, UnloadReason } from '../../index'
import { type Known, noUnloads } from './known'

/** What happens to models. */
export interface LifecycleObserver {
  /** A load or reload has ended well, after `ms`. `isPrefetch`: no request waited for it. */
  loaded?(model: Known, ms: number, isPrefetch: boolean): void
  loadFailed?(model: Known, error: unknown): void
  /** The memory of the model is free. */
  unloaded?(model: Known, reason: UnloadReason): void
  /** A request found the model loaded, or has to wait for it. */
  found?(model: Known, isResident: boolean): void
  /** A model that was loaded ahead is used for the first time. */
  prefetchUsed?(model: Known): void
}

export class Counts implements LifecycleObserver {
  #loads = 0
  #failedLoads = 0
  #hits = 0
  #misses = 0
  #prefetches = 0
  #usedPrefetches = 0
  readonly #unloads = noUnloads()

  loaded(_model: Known, _ms: number, isPrefetch: boolean): void {
    this.#loads++
    if (isPrefetch) this.#prefetches++
  }

  loadFailed(): void {
    this.#failedLoads++
  }

  unloaded(_model: Known, reason: UnloadReason): void {
    this.#unloads[reason]++
  }

  found(_model: Known, isResident: boolean): void {
    if (isResident) this.#hits++
    else this.#misses++
  }

  prefetchUsed(): void {
    this.#usedPrefetches++
  }

  stats(models: Iterable<Known>): LifecycleStats {
    return {
      hits: this.#hits,
      misses: this.#misses,
      loads: this.#loads,
      failedLoads: this.#failedLoads,
      unloads: { ...this.#unloads },
      prefetches: this.#prefetches,
      usedPrefetches: this.#usedPrefetches,
      models: [...models].map(model => ({
        model: model.id,
        state: model.state,
        pinned: model.isPinned,
        registered: model.isRegistered,
        bytes: model.key === undefined ? 0 : (model.bytes ?? 0),
        lastUsedAt: model.lastUsedAt,
        loads: model.loads,
        unloads: { ...model.unloads },
      })),
    }
  }
}
