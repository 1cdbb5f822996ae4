// An engine with one model, for the time of a command.

import type { Engine, EngineOptions, GenerateParams, ModelHandle, SamplingOptions } from '../../index'
import { createEngine } from '../engine'
import { interruptible } from './interrupts'
import { ProgressBar } from './progressbar'
import { pathOf } from './storedmodels'
import { note, paint, printable } from './terminal'

/** The engine of a command. */
export interface EngineFlags {
  readonly preset?: NonNullable<EngineOptions['preset']>
  readonly precision?: NonNullable<EngineOptions['precision']>
  /** The profile of a simulated device. */
  readonly simulated?: string
  /** A runtime file. */
  readonly config?: string
}

/** Which model a command uses, and how. */
export interface SessionOptions extends EngineFlags {
  readonly model?: string
  readonly revision?: string
}

export interface Session {
  readonly engine: Engine
  readonly model: ModelHandle
  /** Aborts when the process is to end. */
  readonly signal: AbortSignal
}

/** Opens an engine, loads the model, and runs `work` with them. */
export function inSession<T>(options: SessionOptions, work: (session: Session) => Promise<T>): Promise<T> {
  return interruptible(async signal => {
    const engine = await createEngine(engineOptionsOf(options))
    try {
      return await work({ engine, model: await load(engine, options, signal), signal })
    } finally {
      await engine.dispose()
    }
  })
}

/** The options of the engine of a command. */
export function engineOptionsOf({ preset, precision, simulated, config }: EngineFlags): EngineOptions {
  return { preset, precision, configFile: config, ...(simulated !== undefined && { backend: { simulated } }) }
}

/** Loads the model of a command. */
export async function load(engine: Engine, options: SessionOptions, signal: AbortSignal): Promise<ModelHandle> {
  const { revision } = options
  const path = options.model === undefined ? undefined : await pathOf(options.model)
  const bar = new ProgressBar()
  try {
    const model = await engine.loadModel({ path, revision, signal, onProgress: bar.update })
    bar.end()
    for (const warning of model.warnings) note(paint('yellow', printable(warning), process.stderr))
    return model
  } finally {
    bar.end()
  }
}

/** Options of commands that generate. */
export interface AnswerOptions extends SessionOptions {
  readonly system?: string
  readonly maxTokens?: number
  readonly temperature?: number
  readonly topP?: number
  readonly topK?: number
  readonly minP?: number
  readonly repetitionPenalty?: number
  readonly seed?: number
  readonly stop?: readonly string[]
}

/** The sampling params of a command. */
export function samplingOf(options: AnswerOptions): Omit<SamplingOptions, 'model'> {
  const { maxTokens, temperature, topP, topK, minP, repetitionPenalty, seed, stop: stopSequences } = options
  return { maxTokens, temperature, topP, topK, minP, repetitionPenalty, seed, stopSequences }
}

/** Params of one question, with the system message if there is one. */
export function questionOf(content: string, { system }: AnswerOptions): Pick<GenerateParams & object, 'messages'> {
  const before = system === undefined ? [] : [{ role: 'system', content: system }]
  return { messages: [...before, { role: 'user', content }] }
}
