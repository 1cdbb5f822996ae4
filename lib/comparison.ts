// The arguments of `comparePrompts`: the params of two requests, for one model. Errors name the argument.

import type { PromptComparison } from '../index'
import { errorOf, invalid, MlxServingError } from './errors'
import type { Known } from './lifecycle/known'
import type { NativeEngine, NativeError } from './native'
import { type Properties, read, take } from './options'
import { readsAsJson } from './structured'

/** A comparison that was asked for. */
export interface Comparison {
  model: Known
  /** Compares, once the model is loaded. */
  compare(native: NativeEngine, key: number, options: unknown): Promise<PromptComparison | NativeError>
}

/** Reads the arguments. `modelOf` finds the model of a `model` param. */
export function comparisonOf(a: unknown, b: unknown, modelOf: (model: unknown) => Known): Comparison {
  const [first, second] = [sideOf('a', a, modelOf), sideOf('b', b, modelOf)]
  if (first.model !== second.model) {
    throw invalid(
      'b.model',
      `is \`${second.model.id}\`, but \`a.model\` is \`${first.model.id}\`: they must be the same`,
    )
  }
  return {
    model: first.model,
    compare: (native, key, options) => compare(native, key, [first.params, second.params], options),
  }
}

interface Side {
  model: Known
  params: Properties
}

function sideOf(name: string, value: unknown, modelOf: (model: unknown) => Known): Side {
  const params = read(value, name)
  return inArgument(name, () => {
    const model = modelOf(take(params, 'model'))
    readsAsJson(params)
    return { model, params }
  })
}

/** The addon reads the arguments one after the other. If a getter throws, the error names the argument that was read last. */
function compare(native: NativeEngine, key: number, [a, b]: [Properties, Properties], options: unknown) {
  let current = 'options'
  const begin = <T>(name: string, value: T) => {
    current = name
    return value
  }
  const sides = {
    get a() {
      return begin('a', a)
    },
    get b() {
      return begin('b', b)
    },
  }
  try {
    return native.comparePrompts(key, sides, options)
  } catch (cause) {
    throw invalid(current, 'could not be read: a property of it threw', cause)
  }
}

/** Runs a function. Its errors name the argument. */
function inArgument<T>(name: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof MlxServingError) || error.code === 'EngineClosed') throw error
    const { code, message, param, cause } = error
    throw errorOf(code, `in \`${name}\`: ${message}`, { param: param === undefined ? name : `${name}.${param}`, cause })
  }
}
