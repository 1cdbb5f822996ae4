// Models of mlx-serving/ai-sdk for tests with the AI SDK, and tools for them to call.

import { jsonSchema, tool } from 'ai'
import type { EngineOptions, ScriptedAnswers } from 'mlx-serving'
import { createMlx, type MlxLanguageModel } from 'mlx-serving/ai-sdk'
import { chattingAs, HERMES } from '../scripted.js'
import { type Ready, simulated, withMlx } from '../support.js'

// Tests read the warnings that calls return. The AI SDK must not print them.
globalThis.AI_SDK_LOG_WARNINGS = false

export interface ReadyForAi extends Ready {
  mlx: MlxLanguageModel
}

const forAi = ({ engine, model }: Ready): ReadyForAi => ({ engine, model, mlx: createMlx({ engine })(model) })

/** The demo model. */
export const demo = async (options?: EngineOptions) => forAi(await withMlx(options))
/** A simulated device that makes its own text at the speed of a device. */
export const device = async (profile: string, options?: EngineOptions) => forAi(await simulated(profile, options))
/** A simulated device with these answers, a template with tools and reasoning, and tool calls in the Hermes format. */
export const scripted = async (answers: ScriptedAnswers) => forAi(await chattingAs(HERMES, answers))

const TWO_NUMBERS = jsonSchema<{ a: number; b: number }>({
  type: 'object',
  properties: { a: { type: 'integer' }, b: { type: 'integer' } },
  required: ['a', 'b'],
  additionalProperties: false,
})
const description = 'Adds two numbers.'

/** A tool without a function: its calls end the loop. */
export const ADD = tool({ description, inputSchema: TWO_NUMBERS })
/** A tool that runs. */
export const ADDING = tool({ description, inputSchema: TWO_NUMBERS, execute: async ({ a, b }) => a + b })
/** A tool with settings that the engine does not have. */
export const STRICT = tool({ inputSchema: TWO_NUMBERS, strict: true, inputExamples: [{ input: { a: 1, b: 2 } }] })
