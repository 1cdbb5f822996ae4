// The param `structured` as far as it concerns this side: it is read once, and an answer with a schema is parsed at its
// end. What it means is the addon's to check.

import type { GenerateResult } from '../index'
import { isAbsent, isArray, type Properties, read } from './options'

/** Whether params ask for JSON. The caller's object is replaced by what was read of it. */
export function readsAsJson(params: Properties): boolean {
  const { structured } = params
  // What is no object is refused by the addon, which knows what it should be.
  if (typeof structured !== 'object' || isAbsent(structured) || isArray(structured, 'structured')) return false
  const fields = read(structured, 'structured')
  params.structured = fields
  return !isAbsent(fields.schema)
}

/** The result with the value of its text; one that was cut short has none. */
export function withParsed(result: GenerateResult): GenerateResult {
  return result.finishReason === 'stop' ? { ...result, parsed: JSON.parse(result.text) } : result
}
