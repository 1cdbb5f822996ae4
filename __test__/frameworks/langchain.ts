// Chat models of mlx-serving/langchain for tests, on the engines of the other tests.

import type { EngineOptions, ScriptedAnswers } from 'mlx-serving'
import { ChatMlx, type ChatMlxInput } from 'mlx-serving/langchain'
import { chattingAs, HERMES } from '../scripted.js'
import { type Ready, simulated, withMlx } from '../support.js'

export interface ReadyForLangChain extends Ready {
  chat: ChatMlx
}

const ready = ({ engine, model }: Ready, fields: ChatMlxInput = {}): ReadyForLangChain => ({
  engine,
  model,
  chat: new ChatMlx({ engine, model, ...fields }),
})

/** The demo model. */
export const demo = async (options?: EngineOptions) => ready(await withMlx(options))
/** A simulated device that makes its own text at the speed of a device. */
export const device = async (profile: string, options?: EngineOptions, fields?: ChatMlxInput) =>
  ready(await simulated(profile, options), fields)
/** A simulated device with these answers, a template with tools and reasoning, and tool calls in the Hermes format. */
export const scripted = async (answers: ScriptedAnswers, fields?: ChatMlxInput) =>
  ready(await chattingAs(HERMES, answers), fields)
