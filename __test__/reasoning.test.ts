// Reasoning is separate from the text of an answer.

import type { Message, Tool } from 'mlx-serving'
import { expect, test } from 'vitest'
import { PROMPT, speaking } from './speaking.js'
import { INSTANT, M3_MAX } from './support.js'

const messages: Message[] = [{ role: 'user', content: 'What is 12 + 7?' }]
const ANSWER = '<think>\nTwelve and seven,\n\nthat is nineteen.\n</think>\n\nIt is 19.'

test('reasoning has its own field in results and chunks', async () => {
  // Parts of the reasoning arrive 350 ms apart, so that they are not joined into one chunk.
  const faults = [3, 5, 7].map(step => ({ step, kind: 'stall' as const, ms: 350 }))
  const backend = { simulated: INSTANT, faults }
  const { engine, model } = await speaking(ANSWER, `{# </think> #}${PROMPT}`, { backend })
  const generation = engine.generate({ model, messages })
  let [text, reasoning, chunks] = ['', '', 0]
  for await (const chunk of generation) {
    text += chunk.text
    reasoning += chunk.reasoning ?? ''
    chunks += chunk.reasoning === undefined ? 0 : 1
  }
  const result = await generation
  expect(result).toMatchObject({ text: 'It is 19.', reasoning: 'Twelve and seven,\n\nthat is nineteen.' })
  expect({ text, reasoning }).toEqual({ text: result.text, reasoning: result.reasoning })
  expect(chunks).toBeGreaterThan(2)
  expect(result.finishReason).toBe('stop')
})

test('an answer starts inside the reasoning if the prompt has the opening tag', async () => {
  const opened = `{{ '<think>\\n' if add_generation_prompt }}`
  // The simulated model continues its sentence after the first word, so the continued message has the tag.
  const { engine, model } = await speaking('so it is 19.\n</think>\n\n19', `{{ messages[-1].content }}{# ${opened} #}`)
  const begun: Message[] = [...messages, { role: 'assistant', content: `<think>Let me ${PROMPT}` }]
  const result = await engine.generate({ model, messages: begun, continueFinalMessage: true })
  expect(result).toMatchObject({ text: '19', reasoning: 'so it is 19.' })
})

test('stop sequences are ignored in reasoning', async () => {
  const { engine, model } = await speaking(ANSWER, `{# </think> #}${PROMPT}`, { profile: M3_MAX })
  const reasoning = 'Twelve and seven,\n\nthat is nineteen.'
  const cases: [string, string][] = [
    ['nineteen', 'It is 19.'],
    ['\n\n', 'It is 19.'],
    ['that', 'It is 19.'],
    ['is', 'It '],
    ['19', 'It is '],
  ]
  for (const [stop, text] of cases) {
    const result = await engine.generate({ model, messages, stopSequences: [stop] })
    expect(result, stop).toMatchObject({ text, reasoning, finishReason: 'stop' })
  }
  // The answer to a prompt has no reasoning, only text.
  const { text } = await engine.generate({ model, prompt: PROMPT, stopSequences: ['that'] })
  expect(text).toBe(ANSWER.slice(0, ANSWER.indexOf('that')))
})

test('a call in unclosed reasoning is not a call, and there is a warning', async () => {
  const tools: Tool[] = [{ type: 'function', function: { name: 'now' } }]
  const answer = '<think>\nI call <tool_call>{"name": "now"}</tool_call>'
  const { engine, model } = await speaking(answer, `{{ tools }}{# <tool_call> </think> #} ${PROMPT}`)
  const result = await engine.generate({ model, messages, tools })
  expect(result.warnings).toEqual([expect.stringContaining('the reasoning has no end')])
  expect(result).not.toHaveProperty('toolCalls')
})

test('without reasoning in the template, the tags stay in the text', async () => {
  const { engine, model } = await speaking(ANSWER, PROMPT)
  const result = await engine.generate({ model, messages })
  expect(result.text).toBe(ANSWER)
  expect(result).not.toHaveProperty('reasoning')
})

test('the answer to a plain prompt keeps the tags in its text', async () => {
  const { engine, model } = await speaking(ANSWER, `{# </think> #}${PROMPT}`)
  expect((await engine.generate({ model, prompt: PROMPT })).text).toBe(ANSWER)
})

test('unclosed reasoning is not text', async () => {
  const { engine, model } = await speaking(ANSWER, `{# </think> #}${PROMPT}`)
  const result = await engine.generate({ model, messages, maxTokens: 4 })
  expect(result).toMatchObject({ text: '', finishReason: 'length' })
  expect(ANSWER).toContain(result.reasoning)
})

test('reasoningTokens counts the tokens up to the closing tag, however the answer is served and read', async () => {
  // Both requests arrive during the first step.
  const backend = { simulated: INSTANT, faults: [{ step: 0, kind: 'stall' as const, ms: 500 }] }
  const { engine, model } = await speaking(ANSWER, `{# </think> #}${PROMPT}`, { backend, cache: {} })
  const read = async () => {
    const generation = engine.generate({ model, messages })
    for await (const _ of generation);
    return generation
  }
  const results = await Promise.all([engine.generate({ model, messages }), read()])
  results.push(await engine.generate({ model, messages }), await read())
  expect(results.map(({ served }) => served)).toEqual(['computed', 'coalesced', 'cached', 'cached'])
  const [{ tokens, usage }] = results
  const textOf = (count: number) => engine.detokenize({ model, tokens: tokens.slice(0, count) })
  expect(await textOf(usage.reasoningTokens)).toContain('</think>')
  expect(await textOf(usage.reasoningTokens - 1)).not.toContain('</think>')
  for (const { usage: own } of results) {
    expect(own.reasoningTokens).toBe(usage.reasoningTokens)
    expect(own.totalTokens).toBe(own.inputTokens + own.outputTokens)
  }
})

test('reasoningTokens counts all tokens of an answer that ends in its reasoning, and 0 without it', async () => {
  const { engine, model } = await speaking(ANSWER, `{# </think> #}${PROMPT}`)
  const cut = await engine.generate({ model, messages, maxTokens: 4 })
  expect(cut.usage).toMatchObject({ reasoningTokens: 4, outputTokens: 4 })
  const plain = await engine.generate({ model, prompt: PROMPT })
  expect(plain.usage).toMatchObject({ reasoningTokens: 0, totalTokens: plain.usage.inputTokens + plain.tokens.length })
  const without = await speaking('It is 19, and there is nothing to think about.', `{# </think> #}${PROMPT}`)
  expect((await without.engine.generate({ model: without.model, messages })).usage.reasoningTokens).toBe(0)
})

test('the template gets the reasoning of a message', async () => {
  const { engine, model } = await speaking(ANSWER, `{{ messages[1].reasoning_content }}{# </think> #} ${PROMPT}`)
  const { text, reasoning = '' } = await engine.generate({
    model,
    messages: [...messages, { role: 'assistant', content: '' }],
  })
  const prompt = await engine.applyChatTemplate({
    model,
    messages: [...messages, { role: 'assistant', content: text, reasoning }],
  })
  expect(prompt).toBe(`${reasoning} ${PROMPT}`)
})
