// `model.capabilities` says what requests get: each claim is compared with a request.

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { LoadModelOptions, Tool } from 'mlx-serving'
import { expect, inject, test } from 'vitest'
import { type Ready, ROOT, simulated, withMlx } from './support.js'

const TEMPLATES = path.join(ROOT, 'tools', 'conformance', 'chat', 'templates')
const FIXTURES = path.join(ROOT, 'tools', 'conformance', 'fixtures')
const TOOLS: Tool[] = [{ type: 'function', function: { name: 'now', description: 'The time.' } }]
const QUESTION = { role: 'user', content: 'Hello' }

/** Compares each capability with requests that need it. */
async function expectCapabilities({ engine, model }: Ready): Promise<void> {
  const { capabilities } = model
  const short = { model, maxTokens: 2 }
  const works = (request: PromiseLike<unknown>) =>
    request.then(
      () => true,
      () => false,
    )
  const withSystem = { model, messages: [{ role: 'system', content: 'Be brief.' }, QUESTION] }
  const shown = engine.applyChatTemplate(withSystem).then(
    prompt => prompt.includes('Be brief.'),
    () => false,
  )
  const asked = { ...short, messages: [QUESTION] }
  expect({
    chat: await works(engine.generate(asked)),
    systemRole: await shown,
    tools: await works(engine.generate({ ...asked, tools: TOOLS })),
    toolChoice: await works(engine.generate({ ...asked, tools: TOOLS, toolChoice: 'required' as const })),
    structured: await works(engine.generate({ ...short, prompt: 'Hello', structured: { regex: '(.|\\n)+' } })),
    logprobs: await works(engine.generate({ ...short, prompt: 'Hello', logprobs: 2 })),
  }).toEqual({
    chat: capabilities.chat,
    systemRole: capabilities.systemRole,
    tools: capabilities.tools,
    toolChoice: capabilities.toolChoice,
    structured: capabilities.structured,
    logprobs: capabilities.logprobs,
  })
  if (!capabilities.tools) expect(capabilities).not.toHaveProperty('toolCallFormat')
  expect(capabilities).toMatchObject({ contextLength: model.contextLength, computeType: model.computeType })
}

test('the bundled model has the capabilities that it reports', async () => {
  const ready = await withMlx()
  await expectCapabilities(ready)
  expect(ready.model.capabilities).toMatchObject({ chat: true, systemRole: true, structured: true, logprobs: true })
  expect(Object.isFrozen(ready.model.capabilities)).toBe(true)
  expect(JSON.parse(JSON.stringify(ready.model.capabilities))).toEqual(ready.model.capabilities)
})

test('copies in other formats and a model without a chat template have the capabilities that they report', async () => {
  const { engine } = await withMlx({ precision: 'model' })
  for (const folder of Object.values(inject('copies') as Record<string, string>)) {
    await expectCapabilities({ engine, model: await engine.loadModel(folder) })
  }
  const without = await engine.loadModel(path.join(FIXTURES, 'base'))
  expect(without.capabilities).toMatchObject({ chat: false, systemRole: false, tools: false, reasoning: false })
  await expectCapabilities({ engine, model: without })
})

const templates = readdirSync(TEMPLATES).map(name => [path.parse(name).name, path.join(TEMPLATES, name)] as const)

test.each(templates)('the capabilities with template %s, and with a tool prompt, are as reported', async (id, file) => {
  const { engine } = await simulated()
  const options: LoadModelOptions = { id, chatTemplate: readFileSync(file, 'utf8') }
  const model = await engine.loadModel(options)
  await expectCapabilities({ engine, model })
  const prompted = await engine.loadModel({ ...options, id: 'prompted', toolPrompt: 'hermes' })
  await expectCapabilities({ engine, model: prompted })
  const { chat, tools } = model.capabilities
  expect(prompted.capabilities.tools).toBe(chat)
  expect(prompted.capabilities.toolPrompt).toBe(chat && !tools ? 'hermes' : undefined)
})
