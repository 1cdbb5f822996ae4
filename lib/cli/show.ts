// `mlx-serving show`: what the files of a model say, and what requests of it may have. No weight is read.

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { ModelCapabilities } from '../../index'
import { createEngine } from '../engine'
import { partsOf } from './exits'
import { bytes, count, pairs, parameters, table } from './figures'
import { shapeOf } from './footprint'
import { interruptible } from './interrupts'
import { type Config, groupOf, kindOf, needFolder, readConfig, readJson } from './storedmodels'
import { forStdout, paint, printable, printJson, printLine } from './terminal'
import { byType, type Tensor, tensorsIn, weightsOf } from './weightfiles'

/** A simulated device finds the capabilities with the tokenizer and the chat template alone. */
const WITHOUT_WEIGHTS = { backend: { simulated: 'instant' } }

export interface ShowOptions {
  readonly json?: boolean
  readonly template?: boolean
  readonly tensors?: boolean
}

export async function show(name: string | undefined, { json, template, tensors: all }: ShowOptions): Promise<void> {
  const folder = await needFolder(name)
  const chatTemplate = await chatTemplateIn(folder)
  if (template) return printLine(forStdout(chatTemplate ?? ''))
  const config = await readConfig(folder)
  const tensors = await tensorsIn(folder)
  const capabilities = await capabilitiesOf(folder, config)
  if (json) {
    const { bytes: size, parameters: numbers } = weightsOf(tensors, groupOf(config))
    const weights = { bytes: size, parameters: numbers, types: byType(tensors) }
    return printJson({ folder, config, weights, capabilities, chatTemplate, ...(all && { tensors }) })
  }
  await printLine(pairs(summary(folder, config, tensors)))
  await printLine(`\n${table(TYPES, byType(tensors).map(typeRow))}`)
  await printLine(`\n${capabilityLines(capabilities)}`)
  await printLine(chatTemplate === undefined ? '\nno chat template' : `\n${templateLine(chatTemplate)}`)
  if (all) await printLine(`\n${table(TENSORS, tensors.map(tensorRow))}`)
}

function summary(folder: string, config: Config, tensors: readonly Tensor[]): [string, string][] {
  const { family, format } = kindOf(config)
  const { bytes: size, parameters: numbers } = weightsOf(tensors, groupOf(config))
  const shape = shapeOf(config)
  return [
    ['folder', folder],
    ['family', family],
    ['format', format],
    ['weights', `${bytes(size)}, ${parameters(numbers)} parameters`],
    ...(shape === undefined
      ? []
      : ([
          ['layers', `${shape.layers}, with ${shape.kvHeads} KV heads of ${shape.headSize}`],
          ['context', `${count(shape.contextLength)} tokens`],
        ] satisfies [string, string][])),
    ['vocabulary', typeof config.vocab_size === 'number' ? `${count(config.vocab_size)} tokens` : 'unknown'],
  ]
}

const TYPES = [
  { title: 'TYPE' },
  { title: 'TENSORS', align: 'right' },
  { title: 'NUMBERS', align: 'right' },
  { title: 'SIZE', align: 'right' },
] as const

function typeRow({ dtype, tensors, numbers, bytes: size }: ReturnType<typeof byType>[number]): string[] {
  return [dtype, count(tensors), count(numbers), bytes(size)]
}

const TENSORS = [{ title: 'TENSOR' }, { title: 'TYPE' }, { title: 'SHAPE' }, { title: 'SIZE', align: 'right' }] as const

function tensorRow({ name, dtype, shape, bytes: size }: Tensor): string[] {
  return [name, dtype, shape.join(' × '), bytes(size)]
}

/** The features that requests can use, or the reason why the model cannot be used. */
type Capabilities =
  | (Omit<ModelCapabilities, 'computeType' | 'contextLength'> & { readonly contextLength?: number })
  | { readonly problem: string }

function capabilitiesOf(folder: string, config: Config): Promise<Capabilities> {
  return interruptible(async signal => {
    const engine = await createEngine(WITHOUT_WEIGHTS)
    try {
      const model = await engine.loadModel({ path: folder, signal })
      // These two are of the simulated device. The type of computations is known on a real device only.
      const { computeType: _, contextLength: __, ...capabilities } = model.capabilities
      const shape = shapeOf(config)
      return { ...capabilities, ...(shape && { contextLength: shape.contextLength }) }
    } catch (error) {
      signal.throwIfAborted()
      return { problem: partsOf(error).message }
    } finally {
      await engine.dispose()
    }
  })
}

const NAMES = {
  chat: 'messages',
  systemRole: 'system messages',
  tools: 'tools',
  toolChoice: 'enforced tool calls',
  reasoning: 'reasoning',
  structured: 'structured output',
} as const

function capabilityLines(capabilities: Capabilities): string {
  if ('problem' in capabilities) return `${paint('red', '×')} it cannot be used: ${printable(capabilities.problem)}`
  const marks = Object.entries(NAMES).map(([field, name]) =>
    capabilities[field as keyof typeof NAMES] ? `${paint('green', '√')} ${name}` : `${paint('dim', '-')} ${name}`,
  )
  const format = capabilities.toolCallFormat === undefined ? [] : [`  tool calls as ${capabilities.toolCallFormat}`]
  return [...marks, ...format].join('\n')
}

function templateLine(template: string): string {
  const lines = template.split('\n').length
  return `chat template: ${count(template.length)} characters in ${lines} ${lines === 1 ? 'line' : 'lines'}; --template prints it`
}

/** Files that are a template. They take precedence over those below. */
const TEMPLATE_FILES = ['chat_template.jinja', path.join('additional_chat_templates', 'default.jinja')]
/** Files with a field `chat_template`. */
const CONFIGURATIONS = ['tokenizer_config.json', 'chat_template.json']

/** The default chat template, found as in src/text/chat_templates.rs. */
async function chatTemplateIn(folder: string): Promise<string | undefined> {
  for (const name of TEMPLATE_FILES) {
    const template = await readFile(path.join(folder, name), 'utf8').catch(() => undefined)
    if (template !== undefined) return template
  }
  for (const name of CONFIGURATIONS) {
    const { chat_template: value } = ((await readJson(path.join(folder, name))) ?? {}) as Record<string, unknown>
    if (value !== undefined && value !== null) return defaultOf(value)
  }
  return undefined
}

/** The value of `chat_template`: a template, or a list of templates with names. */
function defaultOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) return undefined
  const named = value as ({ name?: unknown; template?: unknown } | null)[]
  const found = named.find(entry => entry?.name === 'default') ?? (named.length === 1 ? named[0] : undefined)
  return typeof found?.template === 'string' ? found.template : undefined
}
