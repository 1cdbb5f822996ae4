// What a model thinks comes apart from what it says.

import type { Message, Tool } from 'mlx-serving'
import { expect, test } from 'vitest'
import { PROMPT, speaking } from './speaking.js'
import { M3_MAX } from './support.js'

const messages: Message[] = [{ role: 'user', content: 'What is 12 + 7?' }]
const ANSWER = '<think>\nTwelve and seven,\n\nthat is nineteen.\n</think>\n\nIt is 19.'

test('reasoning is in a field of its own, also while it streams', async () => {
  const { engine, model } = await speaking(ANSWER, `{# </think> #}${PROMPT}`, { profile: M3_MAX })
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

test('an answer whose reasoning the prompt has opened begins inside it', async () => {
  const opened = `{{ '<think>\\n' if add_generation_prompt }}`
  // The model goes on behind the word that begins its sentence, so the tag is put there by the message that is continued.
  const { engine, model } = await speaking('so it is 19.\n</think>\n\n19', `{{ messages[-1].content }}{# ${opened} #}`)
  const begun: Message[] = [...messages, { role: 'assistant', content: `<think>Let me ${PROMPT}` }]
  const result = await engine.generate({ model, messages: begun, continueFinalMessage: true })
  expect(result).toMatchObject({ text: '19', reasoning: 'so it is 19.' })
})

test('stop sequences are looked for behind the reasoning alone', async () => {
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
  // An answer to a prompt is text alone.
  const { text } = await engine.generate({ model, prompt: PROMPT, stopSequences: ['that'] })
  expect(text).toBe(ANSWER.slice(0, ANSWER.indexOf('that')))
})

test('a call in reasoning that has no end is no call, and the warnings say so', async () => {
  const tools: Tool[] = [{ type: 'function', function: { name: 'now' } }]
  const answer = '<think>\nI call <tool_call>{"name": "now"}</tool_call>'
  const { engine, model } = await speaking(answer, `{{ tools }}{# <tool_call> </think> #} ${PROMPT}`)
  const result = await engine.generate({ model, messages, tools })
  expect(result.warnings).toEqual([expect.stringContaining('the reasoning has no end')])
  expect(result).not.toHaveProperty('toolCalls')
})

test('a template that knows nothing of reasoning leaves the tags where they are', async () => {
  const { engine, model } = await speaking(ANSWER, PROMPT)
  const result = await engine.generate({ model, messages })
  expect(result.text).toBe(ANSWER)
  expect(result).not.toHaveProperty('reasoning')
})

test('a prompt that is no conversation is answered as it is', async () => {
  const { engine, model } = await speaking(ANSWER, `{# </think> #}${PROMPT}`)
  expect((await engine.generate({ model, prompt: PROMPT })).text).toBe(ANSWER)
})

test('reasoning without an end is no text', async () => {
  const { engine, model } = await speaking(ANSWER, `{# </think> #}${PROMPT}`)
  const result = await engine.generate({ model, messages, maxTokens: 4 })
  expect(result).toMatchObject({ text: '', finishReason: 'length' })
  expect(ANSWER).toContain(result.reasoning)
})

test('reasoning is given to the template with its message', async () => {
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
