// The options of the lifecycle of models, taken from the effective settings of the engine.

import type { EngineConfig } from '../../index'

export interface LifecycleSettings {
  readonly idleUnloadMs: number
  readonly evict: boolean
  readonly drainMs: number
  readonly warmup: boolean
  readonly prefetch: { readonly enabled: boolean; readonly minConfidence: number; readonly maxModels: number }
}

export function lifecycleSettings(config: EngineConfig): LifecycleSettings {
  const value = <T>(name: string) => config[`modelLifecycle.${name}`].value as T
  return {
    idleUnloadMs: value('idleUnloadMs'),
    evict: value('evict'),
    drainMs: value('drainMs'),
    warmup: value('warmup'),
    prefetch: {
      enabled: value('prefetch.enabled'),
      minConfidence: value('prefetch.minConfidence'),
      maxModels: value('prefetch.maxModels'),
    },
  }
}
