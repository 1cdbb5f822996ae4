// The JavaScript part of the param `structured`: it is read once, and an answer with a schema is parsed at its end. The
// addon validates the param.

import type { GenerateResult } from '../index'
import { isAbsent, isArray, type Properties, read } from './options'

const FORMS = ['schema', 'regex', 'grammar', 'choices']

/** Whether the params have a schema. Replaces the caller's `structured` object by a copy, if it has one of the forms. */
export function readsAsJson(params: Properties): boolean {
  const { structured } = params
  // The addon refuses values of other types.
  if (typeof structured !== 'object' || isAbsent(structured) || isArray(structured, 'structured')) return false
  const fields = read(structured, 'structured')
  // The addon refuses other objects. It recognizes the validators of libraries by fields that a copy lacks.
  if (FORMS.some(form => !isAbsent(fields[form]))) params.structured = fields
  return !isAbsent(fields.schema)
}

/** The result with the parsed value of its text. An answer that was cut short has none. */
export function withParsed(result: GenerateResult): GenerateResult {
  return result.finishReason === 'stop' ? { ...result, parsed: JSON.parse(result.text) } : result
}

/** What a server or a provider says when it leaves out stop sequences because of {@link isFormEnforced}. */
export const IGNORED_STOPS = 'ignored stop sequences: they would cut an answer whose form is enforced'

/** Whether the form of the answer is enforced. Stop sequences could cut such an answer, so the engine refuses them. */
export function isFormEnforced(params: { structured?: unknown; toolChoice?: unknown }): boolean {
  const { structured, toolChoice } = params
  return structured !== undefined || toolChoice === 'required' || typeof toolChoice === 'object'
}
