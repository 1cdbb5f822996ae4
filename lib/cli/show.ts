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
  const capabilities = await capabilitiesOf(folder)
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
type Capabilities = ModelCapabilities | { readonly problem: string }

function capabilitiesOf(folder: string): Promise<Capabilities> {
  return interruptible(async signal => {
    const engine = await createEngine(WITHOUT_WEIGHTS)
    try {
      const { capabilities } = await engine.loadModel({ path: folder, signal })
      return capabilities
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

/** The chat template, where newer and older models have it. */
async function chatTemplateIn(folder: string): Promise<string | undefined> {
  const file = await readFile(path.join(folder, 'chat_template.jinja'), 'utf8').catch(() => undefined)
  if (file !== undefined) return file
  for (const name of ['chat_template.json', 'tokenizer_config.json']) {
    const { chat_template: template } = ((await readJson(path.join(folder, name))) ?? {}) as Record<string, unknown>
    if (typeof template === 'string') return template
    // Several templates by name.
    if (Array.isArray(template)) {
      const found = template.find(({ name }: { name?: unknown }) => name === 'default') as { template?: unknown }
      if (typeof found?.template === 'string') return found.template
    }
  }
  return undefined
}
