// The error classes: one copy for ES modules and CommonJS, and the fields of errors.

import { createRequire } from 'node:module'
import { inspect } from 'node:util'
import * as esm from 'mlx-serving'
import { expect, test } from 'vitest'
import { failure, simulated } from './support.js'

const cjs: typeof esm = createRequire(__filename)('mlx-serving')

test('an error is an instance of the classes of both module systems', async () => {
  const { engine } = await simulated()
  const error = await failure(engine.loadModel('/nowhere'))
  for (const { MlxServingError, ModelError, InvalidParamsError } of [esm, cjs]) {
    expect(error).toBeInstanceOf(MlxServingError)
    expect(error).toBeInstanceOf(ModelError)
    expect(error).not.toBeInstanceOf(InvalidParamsError)
  }
})

test('every class is an Error with its own name', () => {
  const classes = Object.entries(esm).filter(([name]) => name.endsWith('Error'))
  expect(classes.length).toBe(13)
  for (const [name, Class] of classes as [string, typeof esm.MlxServingError][]) {
    const error = new Class('BackendError', 'message')
    expect(error).toBeInstanceOf(Error)
    expect(error).toBeInstanceOf(esm.MlxServingError)
    expect(error.name).toBe(name)
    expect(`${error}`).toBe(`${name}: message`)
    expect(Object.keys(error)).toEqual(['code'])
  }
})

test('an error made with undefined fields does not have these fields', () => {
  const error = new esm.OverloadedError('Overloaded', 'full', { param: undefined, limit: 4, cause: undefined })
  expect(Object.entries(error)).toEqual([
    ['code', 'Overloaded'],
    ['limit', 4],
  ])
  expect('cause' in error).toBe(false)
})

test('an error has only the fields with a value', async () => {
  const { engine, model } = await simulated()
  const error = await failure(engine.generate({ model, prompt: '' }))
  expect(Object.keys(error).sort()).toEqual(['code', 'param'])
  expect(error.cause).toBeUndefined()
  expect(inspect(error)).toContain("code: 'InvalidParams'")
})
