// The warnings of one request: settings that have no effect. The AI SDK prints them, and a result has them.

import type { MlxWarning } from '../../ai-sdk'

export class Warnings {
  readonly list: MlxWarning[] = []

  /** A setting or part that has no effect, with the reason. Each is reported once. */
  unsupported(feature: string, details: string): void {
    if (this.list.some(warning => 'feature' in warning && warning.feature === feature)) return
    this.list.push({ type: 'unsupported', feature, details })
  }
}
